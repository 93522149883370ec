"""What every serving target of the menu can do; promotion knows no more about them than this."""

from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from tasks.foundations.errors import InputError
from tasks.foundations.menu import choices
from tasks.serving.answers import Observation, Validation
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload, folder_of


class ServingTarget(Protocol):
    """One place that serves a model from `<root>/<kind>/<model>/`.

    `root` is the serving folder of the installation, `model` a name that is safe as a folder's name.
    """

    form: ClassVar[str]
    """What it can serve, `onnx` or `savedmodel`: `check` refuses a target whose runtime yields another form."""

    @property
    def kind(self) -> str:
        """The word in the YAML and the name of its folder."""
        ...

    @property
    def target(self) -> str:
        """The target in the config whose winner it serves."""
        ...

    def settings(self) -> dict[str, Any]:
        """What servers are told beside the version: the `settings` of the pointer."""
        ...

    def stage(self, root: Path, model: str, version: int, payload: Payload) -> bool:
        """Copy the payload whole; False if it was already there, to the last byte.

        Raises:
            DigestMismatch: the source is not what the manifest says; nothing is left behind.
            SlipwayError: it cannot be written (disk full, rights); nothing is left behind.
        """
        ...

    def validate(self, root: Path, model: str, version: int, payload: Payload) -> Validation:
        """Try the staged version in a real server of its own, before any traffic; leaves no process behind.

        Raises:
            Refused: it does not load, answer as it was released, or keep its limits; the message ends with the
                server's own words.
        """
        ...

    def point(self, root: Path, model: str, pointer: Pointer) -> None:
        """Make the pointer's version the one that is served; doing it twice is doing it once.

        Raises:
            Conflict: a later move has already pointed elsewhere.
        """
        ...

    def current(self, root: Path, model: str) -> Pointer | None:
        """What is served now, None if nothing is, or nothing that can be read."""
        ...

    def observe(self, root: Path, model: str, pointer: Pointer) -> list[Observation]:
        """Tell every registered server to follow the pointer, and wait until each answers with its version.

        Returns:
            One answer a server; empty if none is registered.

        Raises:
            NotServing: a server says that it cannot, or does not answer in time; the message names it.
        """
        ...

    def withdraw(self, root: Path, model: str) -> None:
        """Serve nothing any more; staged versions stay."""
        ...

    def prune(self, root: Path, model: str, keep: frozenset[int], dry_run: bool = False) -> list[int]:
        """Remove staged versions outside `keep`, never the one pointed to nor its predecessor; return the removed."""
        ...

    def sweep(self, root: Path, model: str) -> list[str]:
        """Remove what killed processes left half-written; return its names. Only while nobody else moves the model."""
        ...


def parse(dump: dict[str, object]) -> ServingTarget:
    """The serving target that a manifest or a config describes as `{kind: ..., target: ...}`.

    Raises:
        InputError: no such kind.
    """
    menu = choices("tasks.serving")
    kind = str(dump.get("kind"))
    if kind not in menu:
        raise InputError(f"There is no serving kind {kind!r}. Expected one of: {', '.join(menu)}.")
    return cast("ServingTarget", menu[kind].model_validate(dump))


def present(root: Path, model: str) -> list[ServingTarget]:
    """A serving target for every kind that has a folder for this model, whatever config made it.

    They stand for the folder, not for a section of a config: their own settings are absent.
    """
    menu: dict[str, Any] = dict(choices("tasks.serving"))
    found = [kind for kind in menu if folder_of(root, kind, model).is_dir()]
    return [cast("ServingTarget", menu[kind].model_construct(kind=kind, target="")) for kind in found]
