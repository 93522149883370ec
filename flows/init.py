"""`init`: a config and a Python file that already run, commented, for the user to replace what is in them."""

import keyword
import re
from pathlib import Path
from typing import Any

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"


def write(name: str, folder: str) -> dict[str, Any]:
    """Write `<folder>/<name>.yaml` and `<folder>/<name>.py`.

    Raises:
        InputError: the name is no name for a Python file, or one of the files exists already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise InputError(f"{name!r} cannot name a model and a Python file: use a-z, 0-9 and _, starting with a letter.")
    if keyword.iskeyword(name) or entrypoints.is_taken(name):
        raise InputError(f"{name!r} is taken by Python or an installed library: choose another name.")
    target = Path(folder)
    files = {target / f"{name}.yaml": "model.yaml.txt", target / f"{name}.py": "model.py.txt"}
    for path in files:
        if path.exists():
            raise InputError(f"{path} exists already and is left as it is. Choose another name or folder.")
    target.mkdir(parents=True, exist_ok=True)
    for path, template in files.items():
        path.write_text((TEMPLATES / template).read_text().format(name=name, folder=folder))
    written = [str(path) for path in files]
    text = "\n".join([*(f"wrote {path}" for path in written), f"next: python -m flows release {target / name}.yaml"])
    return {"files": written, "exit_code": 0, "text": text}
