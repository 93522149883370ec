"""`models.config`: what TensorFlow Serving is told to load and which labels lead where, for all models of one folder.

It is made anew from one small file a model (`entry.json`), so that moves of two models never undo each other's step.

A server refuses a whole config that puts a label on a version that is not loaded, the loading of versions included
(`ServerCore::ReloadConfig` checks labels first). So a label moves in two steps: first the new version is added beside
the old one, the label staying where it is, and only when the new one is loaded the label is moved.
"""

from pathlib import Path

from pydantic import ValidationError

from tasks.foundations.files import write_whole
from tasks.foundations.record import Record
from tasks.serving import pointer as pointers
from tasks.serving.pointer import Pointer

FILE = "models.config"
ENTRY = "entry.json"
STABLE = "stable"
CANARY = "canary"
"""The label of a version that is tried, and the folder in the model's folder that the server finds it in."""


class Entry(Record):
    """What the config says about one model.

    Attributes:
        versions: to keep loaded, the served one first.
        stable: the version behind the label `stable`, None for no label.
        trial: the version that is tried before traffic, under a name of its own (see `trial_name`).
        trial_labelled: the label `canary` leads to it; only when it is loaded.
    """

    versions: tuple[int, ...] = ()
    stable: int | None = None
    trial: int | None = None
    trial_labelled: bool = False


def trial_name(model: str) -> str:
    """The servable that a version is tried as.

    As a second version of the model itself it would be what requests without a label get, since TensorFlow Serving
    answers these with the highest version that is loaded. No model has a dot in its name.
    """
    return f"{model}.{CANARY}"


def final(base: Path, pointer: Pointer) -> Entry:
    """The entry once a move is complete.

    The version before stays loaded while its number is lower: a rollback finds its version loaded. A higher number
    would be what requests without a label get, so it never stays.
    """
    previous = pointer.previous
    keeps = previous is not None and previous < pointer.version and (base / str(previous)).is_dir()
    versions = (pointer.version, previous) if keeps and previous is not None else (pointer.version,)
    return Entry(versions=versions, stable=pointer.version)


def read(base: Path) -> Entry:
    """A model's entry; where the file is missing or damaged, the one that its pointer asks for."""
    try:
        return Entry.model_validate_json((base / ENTRY).read_bytes())
    except (OSError, ValidationError):
        pointer = pointers.present(base)
        return Entry() if pointer is None else final(base, pointer)


def write(base: Path, entry: Entry) -> None:
    """Replace a model's entry; `write_config` makes it known to servers."""
    if not (base / ENTRY).is_file() or read(base) != entry:
        write_whole(base / ENTRY, entry.model_dump_json())


def write_config(folder: Path) -> None:
    """Write `models.config` for all models of the folder; a file that says so already is not touched."""
    models = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    text = config_text([(base, read(base)) for base in models])
    path = folder / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def config_text(models: list[tuple[Path, Entry]]) -> str:
    """The text form of a `ModelServerConfig`.

    Args:
        models: (folder of the model, its entry), one a model.
    """
    entries = []
    for base, entry in models:
        if entry.versions:
            labels = {} if entry.stable is None else {STABLE: entry.stable}
            entries.append(_config(base.name, base, entry.versions, labels))
        if entry.trial is not None:
            labels = {CANARY: entry.trial} if entry.trial_labelled else {}
            entries.append(_config(trial_name(base.name), base / CANARY, (entry.trial,), labels))
    return f"{_HEAD}model_config_list {{\n{''.join(entries)}}}\n"


_HEAD = "# Written by every promotion and rollback; changes by hand are lost.\n"
_CONFIG = """\
  config {{
    name: "{name}"
    base_path: "{base}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
{labels}  }}
"""


def _config(name: str, base: Path, versions: tuple[int, ...], labels: dict[str, int]) -> str:
    return _CONFIG.format(
        name=name,
        base=str(base.absolute()).replace("\\", "\\\\").replace('"', '\\"'),
        versions=" ".join(f"versions: {version}" for version in versions),
        labels="".join(
            f'    version_labels {{ key: "{label}" value: {version} }}\n' for label, version in labels.items()
        ),
    )
