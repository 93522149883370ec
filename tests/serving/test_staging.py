"""Staged versions are whole and immutable, or not there."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.foundations.errors import DigestMismatch, InputError, SlipwayError
from tasks.serving import staging
from tasks.serving.pointer import Pointer, write
from tasks.serving.staging import Payload
from tasks.store.digest import digest_folder

MakePayload = Callable[[str], Payload]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_staged_version_is_byte_for_byte_its_source(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")

    assert staging.stage(tmp_path / "base", 1, payload)

    assert digest_folder(tmp_path / "base" / "1") == payload.digest
    assert names(tmp_path / "base") == ["1"]


def test_staging_the_same_version_again_changes_nothing(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    staging.stage(tmp_path / "base", 1, payload)
    before = (tmp_path / "base" / "1" / "saved_model.pb").stat()

    assert not staging.stage(tmp_path / "base", 1, payload)

    after = (tmp_path / "base" / "1" / "saved_model.pb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["a bit", "a file too many", "a file missing"])
def test_a_damaged_copy_is_replaced(tmp_path: Path, make_payload: MakePayload, damage: str) -> None:
    payload = make_payload("one")
    staging.stage(tmp_path / "base", 1, payload)
    file = tmp_path / "base" / "1" / "saved_model.pb"
    if damage == "a bit":
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "a file missing":
        file.unlink()
    else:
        file.with_name("more").touch()

    assert staging.stage(tmp_path / "base", 1, payload)

    assert digest_folder(tmp_path / "base" / "1") == payload.digest
    assert names(tmp_path / "base") == ["1"]


def test_a_damaged_copy_stays_where_the_source_is_damaged_too(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    staging.stage(tmp_path / "base", 1, payload)
    copy = tmp_path / "base" / "1" / "saved_model.pb"
    for file in (copy, Path(payload.folder, "saved_model.pb")):
        file.write_bytes(b"x" * file.stat().st_size)

    with pytest.raises(DigestMismatch, match="has other bytes"):
        staging.stage(tmp_path / "base", 1, payload)
    assert copy.read_bytes().startswith(b"x")
    assert names(tmp_path / "base") == ["1"]


def test_a_damaged_copy_stays_where_its_successor_cannot_take_its_place(
    tmp_path: Path, make_payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = make_payload("one")
    staging.stage(tmp_path / "base", 1, payload)
    (tmp_path / "base" / "1" / "saved_model.pb").write_bytes(b"x")
    original = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(staging.ASIDE):
            raise OSError(5, "Input/output error")
        return original(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(SlipwayError, match="Input/output error"):
        staging.stage(tmp_path / "base", 1, payload)
    assert (tmp_path / "base" / "1" / "saved_model.pb").read_bytes() == b"x"
    assert names(tmp_path / "base") == ["1"]


@pytest.mark.parametrize("size_stays", [True, False])
def test_a_source_that_is_not_what_the_manifest_says_leaves_nothing(
    tmp_path: Path, make_payload: MakePayload, size_stays: bool
) -> None:
    payload = make_payload("one")
    victim = Path(payload.folder, "variables/variables.index")
    victim.write_bytes(victim.read_bytes()[::-1] if size_stays else b"")

    with pytest.raises(DigestMismatch, match=r"variables/variables\.index has other bytes"):
        staging.stage(tmp_path / "base", 1, payload)
    assert names(tmp_path / "base") == []


def test_a_missing_source_file_is_named_and_leaves_nothing(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    Path(payload.folder, "saved_model.pb").unlink()

    with pytest.raises(DigestMismatch, match=r"saved_model\.pb is missing"):
        staging.stage(tmp_path / "base", 1, payload)
    assert names(tmp_path / "base") == []


def test_what_mlflow_added_to_the_bundle_is_not_copied(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    Path(payload.folder, "registered_model_meta").write_text("model_name: digits")

    staging.stage(tmp_path / "base", 1, payload)

    assert digest_folder(tmp_path / "base" / "1") == payload.digest


@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_verify_names_the_file_that_is_wrong(tmp_path: Path, make_payload: MakePayload, change: str) -> None:
    payload = make_payload("one")
    staging.stage(tmp_path / "base", 1, payload)
    file = tmp_path / "base" / "1" / ("new" if change == "added" else "saved_model.pb")
    if change == "removed":
        file.unlink()
    else:
        file.write_bytes(b"x" * payload.files["saved_model.pb"].size)

    with pytest.raises(DigestMismatch, match=file.name):
        staging.verify(tmp_path / "base" / "1", payload)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_version_larger_than_the_disk_is_refused_with_figures(small_disk: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    (small_disk / "filler").write_bytes(b"x" * 60_000)

    with pytest.raises(SlipwayError, match=rf"no room for a version of {payload.size} bytes"):
        staging.stage(small_disk / "base", 1, payload)
    assert not list(small_disk.glob("base/.staging-*"))


def test_a_disk_that_fills_up_while_copying_leaves_nothing(
    small_disk: Path, make_payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = make_payload("one")
    (small_disk / "filler").write_bytes(b"x" * 56_000)
    monkeypatch.setattr(staging, "_check_room", lambda base, payload: None)  # filled after the check

    with pytest.raises(SlipwayError, match="No space left on device"):
        staging.stage(small_disk / "base", 1, payload)
    assert names(small_disk / "base") == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from tasks.foundations.errors import SlipwayError
from tasks.serving import staging
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
payload = staging.Payload.model_validate_json(Path(sys.argv[1]).read_bytes())
try:
    staging.stage(Path(sys.argv[2]), 1, payload)
except SlipwayError as error:
    sys.exit(str(error))
"""


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(tmp_path: Path, make_payload: MakePayload) -> None:
    (tmp_path / "payload.json").write_text(make_payload("one").model_dump_json())

    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "payload.json"), str(tmp_path / "base")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )

    assert "could not be copied" in child.stderr and "File too large" in child.stderr
    assert names(tmp_path / "base") == []


def test_pruning_never_takes_the_served_version_nor_its_predecessor(tmp_path: Path, make_payload: MakePayload) -> None:
    for version in (1, 2, 3, 4):
        staging.stage(tmp_path, version, make_payload("one"))
    write(tmp_path, Pointer(serial=9, version=2, digest="d", previous=1))

    assert staging.prune(tmp_path, frozenset({4})) == [3]
    assert staging.staged(tmp_path) == [1, 2, 4]
    assert staging.prune(tmp_path, frozenset()) == [4]
    assert names(tmp_path) == ["1", "2", "bundles", "pointer.json"]


def test_sweeping_takes_only_what_killed_processes_left(tmp_path: Path, make_payload: MakePayload) -> None:
    staging.stage(tmp_path / "base", 1, make_payload("one"))
    write(tmp_path / "base", Pointer(serial=1, version=1, digest="d"))
    (tmp_path / "base" / ".staging-2-abc" / "variables").mkdir(parents=True)
    (tmp_path / "base" / ".removed-3-abc").mkdir()
    (tmp_path / "base" / ".whole-abc.tmp").touch()

    assert staging.sweep(tmp_path / "base") == [".removed-3-abc", ".staging-2-abc", ".whole-abc.tmp"]
    assert names(tmp_path / "base") == ["1", "pointer.json"]
    assert staging.sweep(tmp_path / "nothing") == []


@pytest.mark.parametrize("model", ["../digits", "", ".staging-1", "a/b", "Digits", "-x"])
def test_a_model_name_that_is_no_folder_name_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match="no model name"):
        staging.folder_of(tmp_path, "onnx_server", model)
