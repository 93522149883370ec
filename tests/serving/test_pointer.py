"""The pointer is whole, durable and only moves forward."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.foundations.errors import Conflict, SlipwayError
from tasks.serving import pointer as pointers
from tasks.serving.pointer import Pointer

ONE = Pointer(serial=4, version=1, digest="d1")
TWO = Pointer(serial=8, version=2, digest="d2", previous=1)


def test_a_pointer_comes_back_as_written(tmp_path: Path) -> None:
    assert pointers.read(tmp_path) is None

    pointers.write(tmp_path, ONE)
    pointers.write(tmp_path, TWO)

    assert pointers.read(tmp_path) == TWO
    assert [path.name for path in tmp_path.iterdir()] == ["pointer.json"]


def test_writing_the_same_pointer_twice_is_writing_it_once(tmp_path: Path) -> None:
    pointers.write(tmp_path, TWO)
    inode = (tmp_path / "pointer.json").stat().st_ino

    pointers.write(tmp_path, TWO)

    assert (tmp_path / "pointer.json").stat().st_ino == inode


@pytest.mark.parametrize("late", [ONE, TWO.model_copy(update={"version": 3})])
def test_a_move_that_is_not_newer_cannot_take_production_back(tmp_path: Path, late: Pointer) -> None:
    pointers.write(tmp_path, TWO)

    with pytest.raises(Conflict, match="already follows move 8"):
        pointers.write(tmp_path, late)
    assert pointers.read(tmp_path) == TWO


def test_a_file_that_is_no_pointer_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pointer.json").write_text('{"serial": "x"}')

    with pytest.raises(SlipwayError, match="is not a pointer"):
        pointers.read(tmp_path)
    assert pointers.present(tmp_path) is None
    pointers.write(tmp_path, ONE)  # the journal knows better than a damaged file
    assert pointers.read(tmp_path) == ONE


def test_a_pointer_that_cannot_be_replaced_stays_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointers.write(tmp_path, ONE)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pointers.write(tmp_path, TWO)

    assert pointers.read(tmp_path) == ONE
    assert [path.name for path in tmp_path.iterdir()] == ["pointer.json"]


def test_removing_a_pointer_twice_is_removing_it_once(tmp_path: Path) -> None:
    pointers.write(tmp_path, ONE)

    pointers.remove(tmp_path)
    pointers.remove(tmp_path)
    pointers.remove(tmp_path / "nothing")

    assert pointers.read(tmp_path) is None


WRITER = """
import sys
from pathlib import Path
from tasks.serving.pointer import Pointer, write
for serial in range(1, 1000000):
    write(Path(sys.argv[1]), Pointer(serial=serial, version=serial, digest=str(serial), previous=serial - 1))
"""


def test_readers_never_see_half_a_pointer_and_a_killed_writer_leaves_a_whole_one(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=Path(__file__).parents[2])
    seen: list[Pointer] = []
    try:
        while len({pointer.serial for pointer in seen}) < 50:
            assert writer.poll() is None
            seen += [pointer for _ in range(1000) if (pointer := pointers.read(tmp_path))]
    finally:
        writer.kill()
        writer.wait()

    serials = [pointer.serial for pointer in seen]
    assert serials == sorted(serials)
    assert all(pointer.digest == str(pointer.serial) for pointer in seen)
    assert pointers.read(tmp_path) is not None
