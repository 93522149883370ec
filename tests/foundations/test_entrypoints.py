import pytest

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError


@pytest.fixture
def folder(tmp_path, request):
    name = f"user_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}_shared.py").write_text("SIZE = 3\n")
    (tmp_path / f"{name}.py").write_text(
        f"from {name}_shared import SIZE\n\ndef build():\n    return SIZE\n\ndef broken():\n    return {{}}['x']\n"
        "\nNUMBER = 3\n"
    )
    return tmp_path, f"{name}.py"


def test_a_function_is_found_without_running_its_file(tmp_path):
    (tmp_path / "bomb.py").write_text("raise SystemExit(1)\ndef build(): pass\n")

    entrypoints.check("bomb.py:build", tmp_path)


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise ValueError('no')"])
def test_user_code_cannot_end_the_release_in_its_own_way(statement, tmp_path):
    name = f"ending_{abs(hash(statement))}"
    (tmp_path / f"{name}.py").write_text(f"def build():\n    {statement}\n")
    (tmp_path / f"{name}_at_once.py").write_text(f"build = None\n{statement}\n")

    with pytest.raises(InputError, match="raised .*line 2"):
        entrypoints.call(f"{name}.py:build", tmp_path)
    with pytest.raises(InputError, match="raised .*line 2"):
        entrypoints.call(f"{name}_at_once.py:build", tmp_path)


@pytest.mark.parametrize("text", ["digits", "digits:build", "digits.py", "digits.py:", "digits.py:a b"])
def test_what_is_no_entrypoint_is_said(text, tmp_path):
    with pytest.raises(InputError, match="file.py:function"):
        entrypoints.check(text, tmp_path)


def test_a_missing_function_is_said_with_those_that_are_there(folder):
    with pytest.raises(InputError, match="It defines: NUMBER, broken, build"):
        entrypoints.check(f"{folder[1]}:biuld", folder[0])


def test_user_code_can_import_its_siblings(folder):
    assert entrypoints.call(f"{folder[1]}:build", folder[0]) == 3


def test_an_exception_of_user_code_says_its_line(folder):
    with pytest.raises(InputError, match=rf"KeyError.*{folder[1]}, line 7"):
        entrypoints.call(f"{folder[1]}:broken", folder[0])


def test_what_cannot_be_called_is_said(folder):
    with pytest.raises(InputError, match="not callable but int"):
        entrypoints.call(f"{folder[1]}:NUMBER", folder[0])


def test_a_file_that_does_not_parse_is_said(tmp_path):
    (tmp_path / "bad.py").write_text("def build(:\n")

    with pytest.raises(InputError, match="not valid Python"):
        entrypoints.check("bad.py:build", tmp_path)


def _blame(error, folder):
    with entrypoints.blaming("training", folder):
        raise error


def test_nobody_is_blamed_for_what_is_not_in_their_files(tmp_path):
    with pytest.raises(ValueError, match="of a library"):
        _blame(ValueError("of a library"), tmp_path)
    # A config may lie above the folders of Slipway itself.
    with pytest.raises(ValueError, match="of a library"), entrypoints.blaming("training", entrypoints.SLIPWAY):
        raise_in_slipway()


def raise_in_slipway():
    try:
        entrypoints.split("nothing")
    except InputError as error:
        raise ValueError("of a library").with_traceback(error.__traceback__.tb_next) from None


def test_memory_that_ran_out_is_nobodys_mistake(folder):
    path, file = folder
    (path / file).write_text("def build():\n    raise MemoryError\n")

    with pytest.raises(MemoryError):
        entrypoints.call(f"{file}:build", path)
    with pytest.raises(MemoryError), entrypoints.blaming("training", path):
        entrypoints.load(f"{file}:build", path)()
