"""The menu: one suite over every serving target."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.foundations.errors import Conflict, InputError
from tasks.foundations.menu import choices
from tasks.serving import staging
from tasks.serving._target import ServingTarget, parse
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload
from tasks.store.digest import digest_folder

MakePayload = Callable[[str], Payload]
KINDS = sorted(choices("tasks.serving"))


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest) -> ServingTarget:
    return parse({"kind": request.param, "target": "cpu"})


def copy(target: ServingTarget, root: Path, version: int) -> Path:
    folder = staging.place(root / target.kind / "digits", version)
    assert folder is not None
    return folder


def at(serial: int, version: int, previous: int | None = None) -> Pointer:
    return Pointer(serial=serial, version=version, digest=f"d{version}", previous=previous)


def test_the_menu_has_both_kinds_and_their_forms() -> None:
    assert {kind: parse({"kind": kind, "target": "t"}).form for kind in KINDS} == {
        "onnx_server": "onnx",
        "tf_serving": "savedmodel",
    }


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="onnx_server, tf_serving"):
        parse({"kind": "torch_serve", "target": "cpu"})


def test_promote_promote_rollback_leaves_the_first_versions_files_byte_equal(
    target: ServingTarget, tmp_path: Path, make_payload: MakePayload
) -> None:
    one, two = make_payload("one"), make_payload("two")
    assert target.current(tmp_path, "digits") is None

    target.stage(tmp_path, "digits", 1, one)
    target.point(tmp_path, "digits", at(3, 1))
    target.stage(tmp_path, "digits", 2, two)
    target.point(tmp_path, "digits", at(7, 2, previous=1))
    target.point(tmp_path, "digits", at(11, 1))

    assert target.current(tmp_path, "digits") == at(11, 1)
    assert staging.staged(tmp_path / target.kind / "digits") == [1, 2]
    assert digest_folder(copy(target, tmp_path, 1)) == one.digest
    assert digest_folder(copy(target, tmp_path, 2)) == two.digest


def test_a_lower_serial_is_refused(target: ServingTarget, tmp_path: Path, make_payload: MakePayload) -> None:
    target.stage(tmp_path, "digits", 1, make_payload("one"))
    target.point(tmp_path, "digits", at(7, 1))

    with pytest.raises(Conflict):
        target.point(tmp_path, "digits", at(3, 2))
    assert target.current(tmp_path, "digits") == at(7, 1)


def test_withdrawing_keeps_the_versions(target: ServingTarget, tmp_path: Path, make_payload: MakePayload) -> None:
    target.stage(tmp_path, "digits", 1, make_payload("one"))
    target.point(tmp_path, "digits", at(7, 1))

    target.withdraw(tmp_path, "digits")

    assert target.current(tmp_path, "digits") is None
    assert staging.staged(tmp_path / target.kind / "digits") == [1]


def test_pruning_and_sweeping_reach_the_models_folder(
    target: ServingTarget, tmp_path: Path, make_payload: MakePayload
) -> None:
    for version in (1, 2, 3):
        target.stage(tmp_path, "digits", version, make_payload("one"))
    target.point(tmp_path, "digits", at(7, 3, previous=2))
    (tmp_path / target.kind / "digits" / ".staging-4-x").mkdir()

    assert target.prune(tmp_path, "digits", frozenset()) == [1]
    assert target.sweep(tmp_path, "digits") == [".staging-4-x"]
    assert not target.stage(tmp_path, "digits", 2, make_payload("one"))
