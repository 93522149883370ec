"""TensorFlow Serving: folders and a `models.config` that a server follows under either of its ways to choose a version.

Nothing here knows how the server was started, so both ways are served at once:

    --model_config_file=<root>/tf_serving/models.config --model_config_file_poll_wait_seconds=1
        loads exactly the versions in the file; the label `stable` leads to the one in production.
    --model_name=<model> --model_base_path=<root>/tf_serving/<model>
        loads the highest integer folder. So only the version in production and lower ones bear their number; any other
        stands whole as `held-<version>`, which the server does not see, and is renamed when it is pointed to.

Every step can be repeated: whatever a killed process left undone, pointing again does.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations.errors import NotServing, Refused, SlipwayError
from tasks.foundations.files import sync
from tasks.foundations.locks import hold
from tasks.foundations.record import Record
from tasks.serving import pointer as pointers
from tasks.serving import staging
from tasks.serving import tf_serving_config as configs
from tasks.serving.answers import Observation, Validation
from tasks.serving.pointer import Pointer
from tasks.serving.staging import HELD, Payload
from tasks.serving.tf_serving_config import CANARY, STABLE, Entry, trial_name
from tasks.serving.tf_serving_status import CallFailed, Loading, Server, Waited, connected, wait
from tasks.serving.tf_serving_trial import ask_golden, validation

LOCK_SECONDS = 60
LISTED_SETTLE_SECONDS = 2.0


class TfServing(Record):
    """Serve the winner of a TensorFlow target; see `ServingTarget` for the methods."""

    form: ClassVar[str] = "savedmodel"

    kind: Literal["tf_serving"]
    target: str = Field(description="The target whose winner is served; its runtime must yield a SavedModel.")
    servers: tuple[str, ...] = Field(
        (), description="gRPC addresses of running servers, `host:8500`: a version is tried there before it is served."
    )
    limit_s: float = Field(60.0, gt=0, le=3600, description="How long a server may take to load a version.")
    settle_s: float | None = Field(
        None,
        ge=0,
        le=600,
        description="How long whoever follows `models.config` may take to read a change: 1 more than its longest poll "
        "interval. Left out: 2 where `servers` are listed; where none is, nobody is known to be there and nothing is "
        "waited for. So a server that is not listed needs it: it might never load a version whose step it has missed.",
    )

    def settings(self) -> dict[str, Any]:
        """Nothing: a server reads `models.config`, or only the folders."""
        return {}

    def stage(self, root: Path, model: str, version: int, payload: Payload) -> bool:
        """Copy the SavedModel, its warm-up requests included, whole to where no server loads it yet."""
        self._end_trial(root, model)
        return staging.stage(self._base(root, model), version, payload, held=True)

    def point(self, root: Path, model: str, pointer: Pointer) -> None:
        """Let servers load the version, move the label when it is loaded, then hide higher versions.

        Listed servers are asked; others are given `settle_s` to read each change.
        """
        base = self._base(root, model)
        self._end_trial(root, model)
        before = configs.read(base)
        pointers.write(base, pointer)
        _show(base, pointer.version)
        after = configs.final(base, pointer)
        if before.stable != pointer.version and (before.stable is not None or self.servers):
            self._publish(root, model, _beside(base, before, after))
            self._await(root, model, pointer.version, before)
        self._publish(root, model, after)
        if _above(base, pointer.version):
            self._await(root, model, pointer.version, after, STABLE)
            _hold(base, pointer.version)

    def current(self, root: Path, model: str) -> Pointer | None:
        """What `pointer.json` says."""
        return pointers.present(self._base(root, model))

    def withdraw(self, root: Path, model: str) -> None:
        """Take the model out of `models.config` and hide its folders; they stay."""
        base = self._base(root, model)
        self._end_trial(root, model)
        pointers.remove(base)
        self._publish(root, model, Entry())
        _hold(base, -1)

    def prune(self, root: Path, model: str, keep: frozenset[int], dry_run: bool = False) -> list[int]:
        """Remove staged versions that are neither kept nor in use."""
        return staging.prune(self._base(root, model), keep, dry_run)

    def sweep(self, root: Path, model: str) -> list[str]:
        """Remove what killed processes left, beside `models.config` too."""
        base = self._base(root, model)
        left = self._end_trial(root, model) + staging.sweep(base)
        if not (root / self.kind).is_dir():
            return left
        with self._config_lock(root, model):
            return left + staging.sweep(root / self.kind)

    def validate(  # type: ignore[override] # pydantic's own is deprecated and unused
        self, root: Path, model: str, version: int, payload: Payload
    ) -> Validation:
        """Check the staged copy, and try it in every listed server that follows `models.config`.

        Raises:
            Refused: it cannot be loaded there, or does not give its golden answers.
        """
        folder = staging.place(self._base(root, model), version)
        if folder is None:
            raise SlipwayError(f"Version {version} of {model} is not staged for {self.kind}. Run `reconcile`.")
        staging.verify(folder, payload)
        checked = "only its digests were checked"
        if not self.servers:
            return Validation(kind=self.kind, note=f"not tried: no TensorFlow Serving is listed; {checked}")
        with connected(self.servers) as servers:
            followers, others, silent = self._split(servers, model, fresh=self.current(root, model) is None)
            untried = "; ".join(f"not tried on {address}: {why}" for address, why in (others | silent).items())
            if not followers:
                return Validation(kind=self.kind, note=f"{untried}; {checked}")
            with self._trial(root, model, version, folder):
                return self._try(root, model, version, folder, followers, untried)

    def observe(self, root: Path, model: str, pointer: Pointer) -> list[Observation]:
        """Ask every listed server until requests get the pointer's version.

        Raises:
            NotServing: one does not within `limit_s`, or cannot load it.
        """
        if not self.servers:
            return []
        loading = Loading(model, pointer.version, self._patience)
        unlabelled: dict[str, float] = {}

        def ask(server: Server) -> str | None:
            return loading(server) or self._says_other(server, model, pointer.version, unlabelled)

        begun = time.monotonic()
        with connected(self.servers) as servers:
            waited = wait(servers, ask, self.limit_s)
        if waited.no:
            raise NotServing(
                f"TensorFlow Serving does not serve version {pointer.version} of {model}: {waited.complaint()} (asked "
                f"for {time.monotonic() - begun:.1f} s). Look at that server's log; it must run with "
                "--model_config_file_poll_wait_seconds=1, or with the model's folder as --model_base_path."
            )
        return [
            Observation(kind=self.kind, server=server, version=pointer.version, digest="", ms=ms)
            for server, ms in waited.ms.items()
        ]

    @property
    def _settle_s(self) -> float:
        if self.settle_s is not None:
            return self.settle_s
        return LISTED_SETTLE_SECONDS if self.servers else 0.0

    @property
    def _patience(self) -> float:
        return 2 * self._settle_s

    def _base(self, root: Path, model: str) -> Path:
        return staging.folder_of(root, self.kind, model)

    def _config_lock(self, root: Path, model: str) -> AbstractContextManager[None]:
        """Moves of two models must not write the one config over each other."""
        return hold(root / self.kind / f".{configs.FILE}.lock", f"a move of {model}", timeout_s=LOCK_SECONDS)

    def _publish(self, root: Path, model: str, entry: Entry) -> None:
        with self._config_lock(root, model):
            configs.write(self._base(root, model), entry)
            self._write_config(root)

    def _write_config(self, root: Path) -> None:
        configs.write_config(root / self.kind)

    def _split(
        self, servers: list[Server], model: str, fresh: bool
    ) -> tuple[list[Server], dict[str, str], dict[str, str]]:
        """Servers that follow `models.config`; others, and those that do not answer, with what there is to say.

        Only the first know the label `stable`; before a model's first version none does, and a server that takes the
        highest folder does not even answer.
        """
        followers: list[Server] = []
        others, silent = {}, {}
        for server in servers:
            try:
                if server.answering(model, STABLE) is not None or fresh:
                    followers.append(server)
                else:
                    others[server.address] = "it takes the highest folder, so it serves whatever it loads"
            except CallFailed as error:
                silent[server.address] = str(error)
        return followers, others, silent

    def _await(self, root: Path, model: str, version: int, before: Entry, label: str = "") -> None:
        """Wait until servers that follow the config have loaded a version and, where asked, moved the label to it.

        One that cannot load it is left to `observe`: the old version goes on there.
        """
        new = version not in before.versions
        loading = Loading(model, version, self._patience, doubt_s=self._patience if new else 0)

        def ask(server: Server) -> str | None:
            return loading(server) or _says_label(server, model, version, label)

        with connected(self.servers) as servers:
            followers, _, silent = self._split(servers, model, fresh=before.stable is None)
            wait(followers, ask, self.limit_s)
        if silent or not self.servers:
            self._settle(root)

    def _settle(self, root: Path) -> None:
        """Wait until whoever polls `models.config` has read it."""
        age = time.time() - (root / self.kind / configs.FILE).stat().st_mtime
        left = min(self._settle_s, self._settle_s - age)
        if left > 0:
            time.sleep(left)

    def _says_other(self, server: Server, model: str, version: int, unlabelled: dict[str, float]) -> str | None:
        """What requests get instead of a version that is loaded."""
        got = server.answering(model)
        if got != version:
            return f"it has loaded it, but requests get version {got}"
        labelled = server.answering(model, STABLE)
        if labelled is None and time.monotonic() - unlabelled.setdefault(server.address, time.monotonic()) < (
            self._settle_s
        ):
            return f"it has loaded it, but has no label {STABLE} yet"
        if labelled not in (None, version):  # without labels it takes the highest folder
            return f"it has loaded it, but the label {STABLE} leads to version {labelled}"
        return None

    @contextmanager
    def _trial(self, root: Path, model: str, version: int, folder: Path) -> Iterator[None]:
        """The version under its name for trials, in `models.config` and in a folder that only that name looks into."""
        base = self._base(root, model)
        self._end_trial(root, model)
        try:
            (base / CANARY).mkdir(exist_ok=True)
            # Relative, for a container that has the folder elsewhere; the copy itself stays where it is.
            (base / CANARY / str(version)).symlink_to(Path("..") / folder.name)
            self._publish(root, model, configs.read(base).model_copy(update={"trial": version}))
            yield
        finally:
            self._end_trial(root, model)

    def _end_trial(self, root: Path, model: str) -> list[str]:
        """Take a version out of its trial, whoever began it; names of what was removed."""
        base = self._base(root, model)
        entry = configs.read(base)
        if entry.trial is not None:
            self._publish(root, model, entry.model_copy(update={"trial": None, "trial_labelled": False}))
        # The folder itself stays: a server that still has it in its config would poll no model at all without it.
        links = sorted((base / CANARY).iterdir()) if (base / CANARY).is_dir() else []
        for link in links:
            link.unlink()
        return [f"{CANARY}/{link.name}" for link in links]

    def _try(
        self, root: Path, model: str, version: int, folder: Path, servers: list[Server], untried: str
    ) -> Validation:
        base, name = self._base(root, model), trial_name(model)
        loaded = wait(servers, Loading(name, version, self._patience, doubt_s=self._patience), self.limit_s)
        self._require(loaded, model, version, "loading it")
        self._publish(root, model, configs.read(base).model_copy(update={"trial_labelled": True}))
        labelled = wait(servers, lambda server: _says_label(server, name, version, CANARY), self.limit_s)
        self._require(labelled, model, version, f"the label {CANARY}")
        times: list[float] = []
        for server in servers:
            try:
                times += ask_golden(server, model, folder)
            except Refused as error:
                raise _refused(model, version, f"{server.address}: {error}") from error
        return validation(self.kind, max(loaded.ms.values()), times, untried)

    def _require(self, waited: Waited, model: str, version: int, what: str) -> None:
        if waited.no:
            raise _refused(
                model, version, f"after {what} was asked for, up to {self.limit_s:g} s: {waited.complaint()}"
            )


def _refused(model: str, version: int, why: str) -> Refused:
    return Refused(
        f"Version {version} of {model} was tried in TensorFlow Serving before traffic and failed: {why}. The champion "
        "goes on. A load that fails stays LOADING while the server retries: --max_num_load_retries=0 lets it say why."
    )


def _says_label(server: Server, model: str, version: int, label: str) -> str | None:
    if not label:
        return None
    got = server.answering(model, label)
    return None if got == version else f"the label {label} leads to {got if got is not None else 'nothing'}"


def _beside(base: Path, before: Entry, after: Entry) -> Entry:
    """The first step of a move: the new version is loaded, and the label stays where it is."""
    kept = [version for version in before.versions if (base / str(version)).is_dir()]
    stable = before.stable if before.stable in kept else None
    return Entry(versions=tuple(dict.fromkeys([*kept, *after.versions])), stable=stable)


def _show(base: Path, version: int) -> None:
    """Let a version bear its number."""
    folder = staging.place(base, version)
    if folder is None:
        raise SlipwayError(f"{base} holds no copy of version {version}. Run `reconcile`: it copies it again.")
    if folder.name != str(version):
        folder.rename(base / str(version))
        sync(base)


def _above(base: Path, version: int) -> list[Path]:
    folders = base.iterdir() if base.is_dir() else ()
    return [path for path in folders if path.name.isdecimal() and path.is_dir() and int(path.name) > version]


def _hold(base: Path, version: int) -> None:
    """Take their number from all versions above one."""
    for path in _above(base, version):
        twin = base / f"{HELD}{path.name}"
        if twin.is_dir():  # of the two, the one with the number is looked after
            staging.discard(twin)
        path.rename(twin)
    if base.is_dir():
        sync(base)
