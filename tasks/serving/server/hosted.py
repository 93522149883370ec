"""One model on this node: which versions are in memory, which one answers, and how that follows the pointer.

A version takes traffic only after everything in `resident.load` held. Then one assignment switches, and the version
before stays in memory, so that a rollback is one assignment too.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.foundations.errors import SlipwayError
from tasks.foundations.files import write_whole
from tasks.serving import pointer as pointers
from tasks.serving.pointer import Pointer
from tasks.serving.served import Served
from tasks.serving.server.line import Array, Line
from tasks.serving.server.metrics import ModelMetrics
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident, load

GOOD = "good.json"
STABLE = "stable"
RETRY_SECONDS = (5.0, 60.0)
"""A version that could not be loaded is tried again after the first, twice as late each time, at most the second."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a pointer is not followed.

    Attributes:
        pointer: the one that is not.
        reason: a sentence.
        at: `time.monotonic()` seconds.
        wait_s: when it is tried again.
    """

    pointer: Pointer
    reason: str
    at: float
    wait_s: float

    def is_due(self, pointer: Pointer) -> bool:
        """Whether loading this pointer is worth another try."""
        return pointer != self.pointer or time.monotonic() - self.at >= self.wait_s


@dataclass
class Switch:
    """The last switch, for status."""

    load_ms: float = 0.0
    switch_ms: float = 0.0
    at: str | None = None


@dataclass
class Hosted:
    """A model and its versions in memory.

    Attributes:
        name: of the model.
        base: its serving folder.
        loader: thread that loads and frees versions.
        line: requests that wait.
        metrics: of this model.
        pinned: serve this and no pointer.
        current: the version that answers; None before the first and after the model was withdrawn.
        residents: version -> what is in memory: `current` and the one before.
        serial: of the move that is served.
        failed: why the newest pointer is not followed; None if it is.
        loading: the version that is being loaded.
    """

    name: str
    base: Path
    loader: ThreadPoolExecutor
    line: Line
    metrics: ModelMetrics
    pinned: Pointer | None = None
    current: Resident | None = None
    residents: dict[int, Resident] = field(default_factory=dict)
    serial: int = 0
    failed: Failure | None = None
    loading: int | None = None
    last: Switch = field(default_factory=Switch)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _background: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def served(self) -> Served:
        """Limits of requests."""
        return self.line.served

    def pick(self, version: int | None = None, label: str | None = None) -> Resident:
        """The version that answers a request.

        Args:
            version: a number, None for the one in production.
            label: `stable`, the one in production.

        Raises:
            Rejected: it is not in memory here.
        """
        if label is not None and label != STABLE:
            raise Rejected("unknown", f"Model {self.name!r} has no version label {label[:40]!r}; it has {STABLE!r}.")
        if self.current is None:
            raise Rejected("not_ready", f"Model {self.name!r} is not ready: {self._why_not()}", retry_after_s=1)
        if version is None:
            return self.current
        if version not in self.residents:
            there = ", ".join(str(each) for each in sorted(self.residents))
            raise Rejected("unknown", f"Version {version} of model {self.name!r} is not served here. Served: {there}.")
        return self.residents[version]

    async def predict(self, resident: Resident, feeds: dict[str, Array], deadline: float) -> dict[str, Array]:
        """Wait in line and be answered; see `Line.run`."""
        return await self.line.run(resident, feeds, deadline)

    async def follow(self, again: bool = False) -> None:
        """Serve what the pointer says, if it can be served; else go on as before and remember why.

        A version in memory is switched to at once, also while another one is being loaded.

        Args:
            again: try what failed now, not only when its time has come.
        """
        pointer = await self._pointer(again)
        if pointer is None or self._is_at_hand(pointer):
            return
        async with self._loading:
            while (pointer := await self._pointer(again)) is not None and not self._is_at_hand(pointer):
                resident = await self._load(pointer)
                if resident is None:
                    return
                if self.pinned is None and await asyncio.to_thread(pointers.present, self.base) != pointer:
                    self._free(resident)  # production has moved on while this was loaded
                    continue
                self._switch(resident, pointer, load_s=resident.load_s)
                return

    def nudge(self) -> "asyncio.Task[None]":
        """As `follow`, at once, and going on whether or not somebody waits for it."""
        return self._later(self.follow(again=True))

    def has_followed(self, serial: float) -> bool:
        """Whether a move is served, or has turned out not to be servable."""
        failed = self.failed is not None and self.failed.pointer.serial >= serial
        return failed or self.serial >= serial

    async def start(self) -> None:
        """As `follow`; a pointer that cannot be served leaves the version that last was."""
        await self.follow()
        if self.current is None and self.failed is not None and self.pinned is None:
            await self._come_back()

    def status(self) -> dict[str, Any]:
        """What the admin port tells; see README."""
        current, failed = self.current, self.failed
        if failed is not None and self.loading == failed.pointer.version:
            failed = None  # it is being tried again
        return {
            "serial": self.serial,
            "version": current.version if current else None,
            "digest": current.digest if current else None,
            "previous": next((version for version in self.residents if version != self._number()), None),
            "resident": sorted(self.residents),
            "loading": self.loading,
            "failed": failed
            and {**failed.pointer.model_dump(include={"serial", "version", "digest"}), "reason": failed.reason},
            "waiting": len(self.line),
            "load_ms": round(self.last.load_ms, 3),
            "switch_ms": round(self.last.switch_ms, 3),
            "switched_at": self.last.at,
        }

    async def _pointer(self, again: bool) -> Pointer | None:
        """What to follow, None if that is what is served already, or nothing can be read."""
        try:
            found = self.pinned or await asyncio.to_thread(pointers.read, self.base)
        except SlipwayError as error:
            self._fail(Pointer(serial=self.serial, version=self._number() or 0, digest=""), str(error), loaded=False)
            return None
        if found is None:
            await self._withdraw()
            return None
        if found.serial < self.serial:
            reason = f"The pointer went back from move {self.serial} to move {found.serial}; it was not followed."
            self._fail(found, reason, loaded=False)
            return None
        if self.failed is not None and not again and not self.failed.is_due(found):
            return None
        return found if self._understands(found) else None

    def _understands(self, pointer: Pointer) -> bool:
        try:
            Served.model_validate(pointer.settings)
        except ValidationError as error:
            where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
            self._fail(
                pointer, f"This server does not know its settings ({where}). Update the server, then repeat the move."
            )
            return False
        return True

    def _is_at_hand(self, pointer: Pointer) -> bool:
        """Whether the pointer's version is in memory; then it answers from now on."""
        if self._is_served(pointer):
            self._settle(pointer)
            return True
        there = self.residents.get(pointer.version)
        if there is None or there.digest != pointer.digest:
            return False
        self._switch(there, pointer, load_s=0.0)
        return True

    async def _load(self, pointer: Pointer) -> Resident | None:
        self.loading = pointer.version
        try:
            return await self._load_in_thread(pointer)
        except (SlipwayError, OSError, ValueError) as error:
            self._fail(pointer, str(error))
        except MemoryError:
            self._fail(pointer, "There was too little memory to load it.")
        finally:
            self.loading = None
        return None

    def _switch(self, resident: Resident, pointer: Pointer, load_s: float) -> None:
        begin = time.perf_counter()
        before = self.current
        self.residents[resident.version] = resident
        self.line.served = Served.model_validate(pointer.settings)
        self.current, self.serial, self.failed = resident, pointer.serial, None
        switch_s = time.perf_counter() - begin
        self.last = Switch(load_s * 1000, switch_s * 1000, datetime.now(UTC).isoformat(timespec="milliseconds"))
        self.metrics.switched(resident.version, pointer.serial, load_s, switch_s)
        log.info(
            "%s: version %d answers (move %d; before: %s), loaded in %.0f ms, switched in %.3f ms",
            *(self.name, resident.version, pointer.serial, before.version if before else None),
            *(self.last.load_ms, self.last.switch_ms),
            extra={"model": self.name, "version": resident.version, "event": "switched"},
        )
        self._later(self._after(pointer, before))

    def _settle(self, pointer: Pointer) -> None:
        """The same version under another move: its limits may be other ones."""
        if pointer.serial != self.serial or self.failed is not None:
            self.line.served = Served.model_validate(pointer.settings)
            self.serial, self.failed = pointer.serial, None
            self.metrics.moved(pointer.serial)

    async def _after(self, pointer: Pointer, before: Resident | None) -> None:
        """What can wait until traffic flows: remember what is good, keep one version to go back to, free others."""
        if self.pinned is not None:
            return
        try:
            await asyncio.to_thread(write_whole, self.base / GOOD, pointer.model_dump_json())
        except OSError as error:
            log.warning("%s: %s could not be written (%s)", self.name, GOOD, error, extra={"model": self.name})
        async with self._loading:
            if self.serial != pointer.serial:
                return
            keep = {pointer.version, before.version if before else pointer.version}
            back = self._way_back(pointer)
            if back is not None:
                keep = {pointer.version, back.version}
                if back.version not in self.residents:
                    await self._stand_by(back)
            for version in self.residents.keys() - keep:
                self._later(self._drain(self.residents.pop(version)))

    def _way_back(self, pointer: Pointer) -> Pointer | None:
        """The version before, as far as it can be proved."""
        if pointer.previous is None or pointer.previous_digest is None:
            return None
        return Pointer(
            serial=pointer.serial,
            version=pointer.previous,
            digest=pointer.previous_digest,
            settings=pointer.settings,
        )

    async def _stand_by(self, back: Pointer) -> None:
        try:
            self.residents[back.version] = await self._load_in_thread(back)
        except (SlipwayError, OSError, ValueError, MemoryError) as error:
            log.warning(
                "%s: version %d does not stand by for a rollback: %s",
                *(self.name, back.version, error),
                extra={"model": self.name, "version": back.version},
            )

    async def _come_back(self) -> None:
        """After a start on a pointer that cannot be served: the version that last was, else the one before."""
        failed = self.failed
        if failed is None:
            return
        for good in (await asyncio.to_thread(self._good), self._way_back(failed.pointer)):
            if good is None or good.digest == failed.pointer.digest:
                continue
            resident = await self._load(good)
            if resident is not None:
                self._switch(resident, good, load_s=resident.load_s)
                self.failed = failed
                log.error(
                    "%s: version %d came back, because %s",
                    *(self.name, good.version, failed.reason),
                    extra={"model": self.name, "version": good.version},
                )
                return

    def _good(self) -> Pointer | None:
        try:
            return Pointer.model_validate_json((self.base / GOOD).read_bytes())
        except (OSError, ValueError):
            return None

    async def _withdraw(self) -> None:
        """The model has no pointer: it was taken out of production, or the folder is out of reach."""
        last = await asyncio.to_thread(pointers.withdrawn, self.base)
        if self.current is None or last is None or last < self.serial:
            return
        log.info("%s: withdrawn", self.name, extra={"model": self.name, "event": "withdrawn"})
        self.current, self.serial = None, last
        self.metrics.withdrawn()
        for version in list(self.residents):
            self._later(self._drain(self.residents.pop(version)))

    async def _drain(self, resident: Resident) -> None:
        while resident.active:
            await asyncio.sleep(0.01)
        self._free(resident)
        log.info(
            "%s: version %d left memory",
            *(self.name, resident.version),
            extra={"model": self.name, "version": resident.version},
        )

    def _free(self, resident: Resident) -> None:
        """In the loader's thread: giving back hundreds of megabytes takes milliseconds."""
        self.loader.submit(resident.close)

    def _fail(self, pointer: Pointer, reason: str, loaded: bool = True) -> None:
        """Remember and tell why a pointer is not followed; `loaded` if its version was tried."""
        before = self.failed
        again = before is not None and before.pointer == pointer
        wait_s = min(2 * before.wait_s, RETRY_SECONDS[1]) if again and before is not None else RETRY_SECONDS[0]
        self.failed = Failure(pointer, reason, time.monotonic(), wait_s)
        if again:
            return
        what = f"version {pointer.version} takes no traffic" if loaded else "the pointer is not followed"
        goes_on = f"version {self._number()} goes on" if self.current else "nothing answers"
        log.error("%s: %s, %s: %s", *(self.name, what, goes_on, reason), extra={"model": self.name, "event": "failed"})
        self.metrics.failed(loaded)

    def _is_served(self, pointer: Pointer) -> bool:
        current = self.current
        return current is not None and (current.version, current.digest) == (pointer.version, pointer.digest)

    def _number(self) -> int | None:
        return self.current.version if self.current else None

    def _why_not(self) -> str:
        if self.failed is not None:
            return f"version {self.failed.pointer.version} could not be loaded; the node's status says why."
        return "it is being loaded." if self.loading is not None else "no version of it is in production."

    async def _load_in_thread(self, pointer: Pointer) -> Resident:
        return await asyncio.get_running_loop().run_in_executor(self.loader, load, self.base, pointer)

    def _later(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
