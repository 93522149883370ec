"""From the stack in the journal to the folders and pointers of every serving kind.

What each kind serves is a function of the stack: the uppermost version that was made for that kind. So a move, its
undoing and a repair are one and the same act with another stack, and each can be repeated.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from tasks.bundle.manifest import Manifest, ServingEntry
from tasks.bundle.verify import verify
from tasks.foundations.errors import Conflict, DigestMismatch, Refused, SlipwayError
from tasks.promotion.control import Control
from tasks.serving._target import ServingTarget, parse, present
from tasks.serving.answers import Validation
from tasks.serving.pointer import Pointer
from tasks.serving.staging import SAFE_NAME, Payload, is_intact, place


@dataclass(frozen=True)
class Publication:
    """One version for one serving kind."""

    serving: ServingTarget
    payload: Payload


@dataclass(frozen=True)
class History:
    """The versions of one model that production is made from.

    Attributes:
        control: where production is controlled from.
        model: name of the model.
        stack: the production history, champion first.
        digests: version -> digest of its bundle.
    """

    control: Control
    model: str
    stack: tuple[int, ...]
    digests: Mapping[int, str]
    copied: list[str] = field(default_factory=list)  # `kind: version`, of copies that were missing or damaged
    _staged: set[tuple[str, int]] = field(default_factory=set)  # read and found whole by this history

    def publications(self, version: int) -> dict[str, Publication]:
        """Kind -> what it gets of a version, in the order of the config. Reads the manifest only.

        Raises:
            SlipwayError: the bundle is not there, or not the one that was registered.
            Refused: a target's winner has a form that its serving kind cannot serve.
        """
        folder = self.control.bundle_path(self.digests[version])
        manifest = Manifest.read(folder)
        if (manifest.model, manifest.digest) != (self.model, self.digests[version]):
            raise DigestMismatch(
                f"{folder} holds {manifest.model} with digest {manifest.digest[:12]}, but version {version} of "
                f"{self.model} was registered with {self.digests[version][:12]}. Nothing was changed."
            )
        found = {entry.kind: _publication(folder, manifest, entry) for entry in manifest.serving}
        if len(found) < len(manifest.serving):
            raise Refused(
                f"Version {version} of {self.model} names a serving kind twice: {[e.kind for e in manifest.serving]}. "
                "A kind serves one target; correct `serving` in the config and release anew."
            )
        return found

    def prove(self, version: int) -> None:
        """Read every byte of a version's bundle.

        Raises:
            DigestMismatch: it is not the bundle that was sealed.
        """
        verify(self.control.bundle_path(self.digests[version]))

    def stage(self, version: int) -> None:
        """Copy a version to every serving kind that it was made for, where it does not stand whole already.

        Of the bundle, only the manifest is read, unless a copy is missing or damaged.

        Raises:
            DigestMismatch: the bundle is not what it must be.
            SlipwayError: it cannot be written.
        """
        for published in self.publications(version).values():
            self._stage(published, version)

    def validate(self, version: int) -> list[Validation]:
        """Try a staged version in a server of every kind that it was made for.

        Raises:
            Refused: it must not get traffic; the message says why.
        """
        root = self.control.serving_root
        return [
            published.serving.validate(root, self.model, version, published.payload)
            for published in self.publications(version).values()
        ]

    def _stage(self, published: Publication, version: int) -> None:
        serving = published.serving
        if (serving.kind, version) not in self._staged:
            if serving.stage(self.control.serving_root, self.model, version, published.payload):
                self.copied.append(f"{serving.kind}: copied version {version} again")
            self._staged.add((serving.kind, version))

    def switch(self, serial: int) -> list[str]:
        """Let every serving kind serve the uppermost version made for it.

        Args:
            serial: of the move in the journal, higher than that of every pointer that has to change.

        Returns:
            Sentences about kinds that the champion was not made for.

        Raises:
            Conflict: a later move has already pointed elsewhere.
            SlipwayError: a pointer cannot be written, or the champion's bundle cannot be read.
        """
        champion = self.publications(self.stack[0]) if self.stack else {}
        warnings = []
        for kind, published in champion.items():
            self._point(published, self.stack[0], serial, next(self._made_for(kind, self.stack[1:]), None))
        for serving in present(self.control.serving_root, self.model):
            if serving.kind not in champion:
                warnings += self._leave_or_go_back(serving, serial)
        return warnings

    def expected(self) -> dict[str, int]:
        """Kind -> the version that it is to serve, of the champion's kinds and of those that serve something."""
        champion = list(self.publications(self.stack[0])) if self.stack else []
        kinds = [*champion, *(serving.kind for serving in present(self.control.serving_root, self.model))]
        made = {kind: next(self._made_for(kind, self.stack), None) for kind in dict.fromkeys(kinds)}
        return {kind: version for kind, version in made.items() if version is not None}

    def is_whole(self, kind: str, version: int) -> bool:
        """Whether a kind's copy of a version is there, every byte as it was sealed."""
        payload = self.publications(version)[kind].payload
        copy = place(self.control.serving_root / kind / self.model, version)
        return copy is not None and is_intact(copy, payload)

    def _leave_or_go_back(self, serving: ServingTarget, serial: int) -> list[str]:
        """A kind that the champion was not made for."""
        root = self.control.serving_root
        made = self._made_for(serving.kind, self.stack)
        version = next(made, None)
        if version is not None:
            self._point(self.publications(version)[serving.kind], version, serial, next(made, None))
            return [f"{serving.kind} serves version {version}: version {self.stack[0]} was not made for it."]
        served = serving.current(root, self.model)
        if served is not None and served.serial > serial:
            raise Conflict(
                f"{serving.kind} follows move {served.serial} of {self.model} (version {served.version}), which is "
                f"newer than move {serial}; it was left alone. Look at `status`."
            )
        serving.withdraw(root, self.model)
        if served is None or not self.stack:
            return []
        return [f"{serving.kind} serves {self.model} no more: no version in the history was made for it."]

    def _point(self, published: Publication, version: int, serial: int, previous: int | None) -> None:
        root, serving = self.control.serving_root, published.serving
        self._stage(published, version)
        pointer = Pointer(
            serial=serial,
            version=version,
            digest=published.payload.digest,
            previous=previous,
            previous_digest=self.publications(previous)[serving.kind].payload.digest if previous is not None else None,
            settings=serving.settings(),
        )
        now = serving.current(root, self.model)
        if now is not None and now.model_copy(update={"serial": serial}) == pointer:
            pointer = now  # as asked already; pointing again repairs what hangs on the pointer
        serving.point(root, self.model, pointer)

    def _made_for(self, kind: str, versions: tuple[int, ...]) -> Iterator[int]:
        """Those of the versions that can be served by a kind; one whose bundle is gone cannot."""
        for version in versions:
            with suppress(SlipwayError):
                if kind in self.publications(version):
                    yield version


def pointers(control: Control, model: str) -> dict[str, Pointer]:
    """Kind -> what it serves now; kinds that serve nothing are absent."""
    root = control.serving_root
    found = {serving.kind: serving.current(root, model) for serving in present(root, model)}
    return {kind: pointer for kind, pointer in found.items() if pointer is not None}


def served(control: Control) -> list[str]:
    """Names of all models that any kind serves, sorted."""
    names = {path.parent.name for path in control.serving_root.glob("*/*/pointer.json")}
    return sorted(name for name in names if SAFE_NAME.fullmatch(name) and pointers(control, name))


def sweep(control: Control, model: str) -> list[str]:
    """Remove what killed processes left in the serving folders; only under the model's lock."""
    root = control.serving_root
    left = ((serving.kind, name) for serving in present(root, model) for name in serving.sweep(root, model))
    return [f"removed the leftover {kind}/{model}/{name}" for kind, name in left]


def prune(control: Control, model: str, keep: Iterable[int], dry_run: bool = False) -> list[str]:
    """Remove staged versions outside `keep`; no kind loses the version it serves, nor its predecessor."""
    root = control.serving_root
    kept = frozenset(keep)
    gone = {serving.kind: serving.prune(root, model, kept, dry_run) for serving in present(root, model)}
    return [f"{kind}/{model}/{version}" for kind, versions in gone.items() for version in versions]


def _parsed(manifest: Manifest, entry: ServingEntry) -> ServingTarget:
    try:
        return parse({"kind": entry.kind, "target": entry.target, **entry.settings})
    except ValidationError as error:  # it was sealed before its kind refused them
        why = "; ".join(str(detail["msg"]).removeprefix("Value error, ") for detail in error.errors())
        raise Refused(
            f"The bundle of release {manifest.made_by.release} has impossible settings of {entry.kind}: {why}. Correct "
            "`serving` in the config and release anew."
        ) from error


def _publication(folder: Path, manifest: Manifest, entry: ServingEntry) -> Publication:
    serving = _parsed(manifest, entry)
    target = manifest.targets.get(entry.target)
    if target is None or target.form != serving.form:
        what = f"is {target.form}" if target else "does not exist"
        raise Refused(
            f"{entry.kind} serves {serving.form}, but the winner of target {entry.target!r} {what}. "
            "Name a fitting target under `serving` in the config and release anew."
        )
    payload = Payload(
        folder=str((folder / target.path).absolute()),
        digest=target.digest,
        files=manifest.target_files(entry.target),
    )
    return Publication(serving, payload)
