"""A small installation: real bundles of plain files, a real journal, real serving folders, aliases in a file."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.bundle.manifest import FileEntry, MadeBy, Manifest, ServingEntry, TargetEntry
from tasks.bundle.verify import target_digest
from tasks.journal.fold import ModelState, fold
from tasks.journal.journal import Journal
from tasks.models.signature import Signature, TensorSpec
from tasks.promotion.control import Control, Order
from tasks.promotion.publish import pointers
from tasks.promotion.registration import record_version
from tasks.serving.answers import Validation
from tasks.serving.onnx_server import OnnxServer
from tasks.serving.staging import Payload, place
from tasks.serving.tf_serving import TfServing
from tasks.store.digest import digest_file, list_files

BOTH = ("onnx_server", "tf_serving")
FORMS = {"onnx_server": ("onnx", "cpu"), "tf_serving": ("savedmodel", "tfs")}
CONTENT = {
    "onnx": ("model.onnx", "signature.json", "golden/golden.json"),
    "savedmodel": ("saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests"),
}
ANN = Order(actor="ann", reason="looks good")


class FileAliases:
    """A registry that lasts over processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, int]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def set_alias(self, model: str, alias: str, version: int) -> None:
        self.path.write_text(json.dumps({**self.read(), alias: version}))

    def delete_alias(self, model: str, alias: str) -> None:
        self.path.write_text(json.dumps({name: version for name, version in self.read().items() if name != alias}))


def trust_plain_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every trial succeed at once; what a trial does is tested with real servers."""

    def passed(self: Any, root: Path, model: str, version: int, payload: Payload) -> Validation:
        assert place(root / self.kind / model, version)
        return Validation(kind=self.kind, requests=1)

    for target in (OnnxServer, TfServing):
        monkeypatch.setattr(target, "validate", passed)


def target_entry(form: Any, target: str, files: dict[str, FileEntry]) -> TargetEntry:
    prefix = f"targets/{target}/"
    own = {name.removeprefix(prefix): entry for name, entry in files.items() if name.startswith(prefix)}
    return TargetEntry(
        candidate="int8",
        form=form,
        path=f"targets/{target}",
        digest=target_digest(own),
        winner="w" * 64,
        runtime={},
    )


class World:
    """One home with one model, `digits`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings: dict[str, dict[str, Any]] = {"onnx_server": {}, "tf_serving": {}}
        self.aliases = FileAliases(home / "aliases.json")
        self.control = Control(
            journal=Journal(f"sqlite:///{home}/journal.db"),
            serving_root=home / "serving",
            locks=home / "locks",
            bundle_path=lambda digest: home / "bundles" / digest,
            open_aliases=lambda: self.aliases,
        )

    def bundle(
        self,
        version: int,
        kinds: tuple[str, ...] = BOTH,
        model: str = "digits",
        serving: dict[str, str] | None = None,
    ) -> str:
        """Write a sealed bundle, published as `serving` (kind -> target) says; its digest."""
        serving = serving or {kind: FORMS[kind][1] for kind in kinds}
        draft = self.home / "bundles" / f"draft-{version}"
        for kind in kinds:
            form, target = FORMS[kind]
            for name in CONTENT[form]:
                path = draft / "targets" / target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{name} of {version}\n".encode() * 1000)
        files = {
            name: FileEntry(sha256=digest_file(path), size=path.stat().st_size)
            for name, path in list_files(draft).items()
        }
        manifest = Manifest(
            schema=1,
            model=model,
            targets={target: target_entry(form, target, files) for form, target in (FORMS[kind] for kind in kinds)},
            serving=tuple(
                ServingEntry(kind=kind, target=target, settings=self.settings[kind]) for kind, target in serving.items()
            ),
            signature=Signature(
                inputs={"input": TensorSpec(dtype="float32", shape=(None, 2))},
                outputs={"output": TensorSpec(dtype="float32", shape=(None, 1))},
            ),
            made_by=MadeBy(release="r1", config="c1", created="2026-11-24T00:00:00+00:00"),
            files=files,
        )
        manifest.write(draft)
        draft.rename(self.home / "bundles" / manifest.digest)
        return manifest.digest

    def register(self, *versions: int, kinds: tuple[str, ...] = BOTH) -> "World":
        for version in versions:
            record_version(self.control, "digits", version, self.bundle(version, kinds), ANN)
        return self

    @property
    def state(self) -> ModelState:
        return fold(self.control.journal.events("digits"))

    @property
    def phases(self) -> list[str]:
        """Kind, version and phase of every event of a move."""
        events = self.control.journal.events("digits")
        return [f"{e.kind} {e.version} {e.phase}" for e in events if e.kind != "registered"]

    @property
    def served(self) -> dict[str, int]:
        return {kind: pointer.version for kind, pointer in pointers(self.control, "digits").items()}

    def folder(self, kind: str, version: int) -> Path:
        base = self.home / "serving" / kind / "digits"
        return place(base, version) or base / str(version)

    def source(self, kind: str, version: int) -> Path:
        return self.home / "bundles" / self.state.digests[version] / "targets" / FORMS[kind][1]

    def leftovers(self) -> list[str]:
        return [str(path) for path in (self.home / "serving").rglob(".*") if not path.name.startswith(".models.config")]


def die() -> None:
    """Be killed as by the kernel: no handler, no finally, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(action: Callable[[], object]) -> int:
    """Run in a forked process; its exit code, -9 if it was killed."""
    child = multiprocessing.get_context("fork").Process(target=action)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def killed_after(monkeypatch: pytest.MonkeyPatch, phase: str, action: Callable[[], object]) -> None:
    """Do something in a process that is killed as soon as the journal has this phase."""
    append = Journal.append

    def append_then_die(self: Journal, event: Any, expected: int | None = None) -> Any:
        written = append(self, event, expected)
        if event.phase == phase:
            die()
        return written

    def killed() -> None:
        monkeypatch.setattr(Journal, "append", append_then_die)
        action()

    assert in_child(killed) == -9
