"""What every file of every menu promises; a newcomer is tested by existing."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.foundations.menu import choices

MENUS = {
    "tasks.data.sources": "kind",
    "tasks.models.sources": "kind",
    "tasks.runtimes": "runtime",
    "tasks.serving": "kind",
    "tasks.techniques": "kind",
    "tasks.training.optimizers": "kind",
    "tasks.training.schedules": "kind",
}
CHOICES = [
    pytest.param(menu, field, word, id=f"{menu.removeprefix('tasks.')}.{word}")
    for menu, field in MENUS.items()
    for word in choices(menu, field)
]
# One value for every field that has no default, so that each choice can be made.
NEEDED = {
    "entrypoint": "x.py:f",
    "student": "x.py:f",
    "target": "cpu",
    "initial": 0.1,
    "factor": 0.5,
    "rates": [0.1, 0.01],
    "epochs": [1],
    "splits": {"test": {"inputs": "x.npy", "labels": "y.npy"}},
    "path": "x",
    "name": "x",
}
# Fields of which one is needed.
TABLE = {"path": "data", "label": "target"}
ONE_OF = {"registered": {"version": 1}, "csv": TABLE, "parquet": TABLE, "npz": {"path": "data.npz"}}


def made(menu, field, word):
    fields = choices(menu, field)[word].model_fields
    needed = {name: NEEDED[name] for name, info in fields.items() if info.is_required() and name != field}
    return {field: word, **needed, **ONE_OF.get(word, {})}


@pytest.mark.parametrize(("menu", "field", "word"), CHOICES)
def test_a_choice_is_frozen_and_refuses_unknown_keys(menu, field, word):
    choice = choices(menu, field)[word]
    record = choice.model_validate(made(menu, field, word))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, field, "other")
    with pytest.raises(ValidationError, match="extra"):
        choice.model_validate({**made(menu, field, word), "typo": 1})


@pytest.mark.parametrize(("menu", "field", "word"), CHOICES)
def test_every_field_says_what_it_is(menu, field, word):
    fields = choices(menu, field)[word].model_fields

    assert [name for name, info in fields.items() if name != field and not info.description] == []
    assert choices(menu, field)[word].__doc__


def test_scanning_every_menu_imports_nothing_heavy():
    code = (
        "import sys; from tasks.foundations.menu import choices\n"
        f"for menu, field in {MENUS!r}.items(): choices(menu, field)\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'mlflow', 'prefect', 'scipy', 'sklearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert ran.stdout.strip() == "[]"


def test_a_choice_under_another_name_than_its_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "misnamed_menu"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_skipped.py").write_text("raise SystemExit\n")
    (package / "right.py").write_text(
        "from typing import Literal\nfrom tasks.foundations.record import Record\n\n"
        "class Wrong(Record):\n    kind: Literal['wrong']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(TypeError, match="name the file wrong.py"):
        choices("misnamed_menu")


def test_every_menu_of_the_house_is_held_to_this():
    root = Path(__file__).parents[2]
    unions = {
        line.split('union("')[1].split('"')[0]
        for path in [*(root / "tasks").rglob("*.py"), *(root / "flows").rglob("*.py")]
        for line in path.read_text().splitlines()
        if 'union("tasks' in line
    }

    assert unions <= set(MENUS)
