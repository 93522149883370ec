"""All models of one node: found in the serving folder, followed by poll and by nudge, ready or not."""

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tasks.serving.nodes import BEAT_SECONDS, KIND, Node, beat, deregister
from tasks.serving.pointer import NAME
from tasks.serving.server.hosted import Hosted
from tasks.serving.server.line import Line
from tasks.serving.server.metrics import Metrics, ModelMetrics
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.settings import ServeSettings
from tasks.serving.server.traces import RequestTraces
from tasks.serving.staging import SAFE_NAME

log = logging.getLogger(__name__)


class Host:
    """The models of one process.

    Attributes:
        settings: what the process was told.
        models: name -> model, of all that it serves.
        metrics: of this process.
        draining: the process ends; requests are answered, new ones belong elsewhere.
        traces: spans of requests, None where nobody collects them.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.settings = settings
        self.models: dict[str, Hosted] = {}
        self.metrics = metrics
        self.draining = False
        self.traces = RequestTraces() if settings.traces else None
        self._base = Path(settings.root) / KIND
        self._loader = ThreadPoolExecutor(2, "load")
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "run")
        self._started = False
        self._beating, self._left = threading.Lock(), False

    @property
    def ready(self) -> bool:
        """Whether a request will be answered: every named model has a version, and of found ones at least one has.

        A model that is found later does not make a node unready, and no switch does.
        """
        with_version = [name for name, model in self.models.items() if model.current is not None]
        wanted = self.settings.models or self.settings.pinned.keys()
        return self._started and not self.draining and bool(with_version) and set(wanted) <= set(with_version)

    def hosted(self, name: str) -> Hosted:
        """A model.

        Raises:
            Rejected: it is not served here.
        """
        found = self.models.get(name)
        if found is None and not self._started:
            raise Rejected("not_ready", "The server is starting.", retry_after_s=1)
        if found is None:
            there = ", ".join(sorted(self.models)) or "none"
            raise Rejected("unknown", f"There is no model {name[:80]!r} here. Served: {there}.")
        return found

    async def start(self) -> None:
        """Load what the pointers say; a model that cannot be loaded does not keep the others from it."""
        self.find()
        ended = await asyncio.gather(*(model.start() for model in self.models.values()), return_exceptions=True)
        for name, error in zip(self.models, ended, strict=True):
            if isinstance(error, BaseException):
                log.error("%s could not be loaded", name, exc_info=error, extra={"model": name})
        self._started = True

    def count(self) -> None:
        """Bring the metrics up to date."""
        for model in self.models.values():
            model.metrics.count()
            model.metrics.waits(len(model.line))

    async def watch(self, node: Node | None) -> None:
        """Follow the pointers until cancelled, and keep the node's file fresh.

        Args:
            node: how moves know this process; None if they do not.
        """
        await asyncio.gather(self._poll(), *([self._beat(node)] if node else []))

    async def _poll(self) -> None:
        """Look at every pointer in turn; one model that loads for minutes keeps no other from its own."""
        looking: dict[str, asyncio.Task[None]] = {}
        while True:
            await asyncio.sleep(self.settings.poll_s)
            try:
                self._add(await asyncio.to_thread(self._names))
            except Exception:  # a look that fails must not end the looking
                log.exception("the serving folder could not be read")
            self.count()
            for name, model in self.models.items():
                before = looking.get(name)
                if before is None or before.done():
                    looking[name] = asyncio.create_task(self._follow(name, model))

    async def _follow(self, name: str, model: Hosted) -> None:
        try:
            await model.follow()
        except Exception:  # as above
            log.exception("%s: its pointer could not be followed", name, extra={"model": name})

    async def _beat(self, node: Node) -> None:
        complained = False
        while True:
            try:
                await asyncio.to_thread(self._keep_fresh, node)
                complained = False
            except OSError as error:
                if not complained:
                    log.warning("moves may not see this node: its file could not be written: %s", error)
                complained = True
            await asyncio.sleep(BEAT_SECONDS)

    def _keep_fresh(self, node: Node) -> None:
        with self._beating:
            if not self._left:
                beat(Path(self.settings.root), node)

    def leave(self, node: Node) -> None:
        """Take the node's file away for good: no beat that is under way writes it again."""
        with self._beating, suppress(OSError):  # a disk that takes nothing any more: moves see that the process is gone
            self._left = True
            deregister(Path(self.settings.root), node)

    def find(self) -> None:
        """Look for models that are new."""
        self._add(self._names())

    def _names(self) -> list[str]:
        return list(self.settings.pinned or self.settings.models or self._pointed())

    def _add(self, names: list[str]) -> None:
        pinned = self.settings.pinned
        for name in names:
            if name not in self.models:
                own = ModelMetrics(self.metrics, name)
                line = Line(self._threads, own.ran)
                self.models[name] = Hosted(name, self._base / name, self._loader, line, own, pinned.get(name))

    def _pointed(self) -> list[str]:
        try:
            found = sorted(path.parent.name for path in self._base.glob(f"*/{NAME}"))
        except OSError:
            return []
        return [name for name in found if SAFE_NAME.fullmatch(name)]
