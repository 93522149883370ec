"""The menu: one suite over every serving target, and what TensorFlow Serving needs beyond it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.foundations.errors import Conflict, InputError
from tasks.foundations.menu import choices
from tasks.serving import staging
from tasks.serving._target import ServingTarget, parse
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload
from tasks.serving.tf_serving import config_text
from tasks.store.digest import digest_folder

MakePayload = Callable[[str], Payload]
KINDS = sorted(choices("tasks.serving"))


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest) -> ServingTarget:
    return parse({"kind": request.param, "target": "cpu"})


def tfs() -> ServingTarget:
    return parse({"kind": "tf_serving", "target": "tfs"})


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

    base = tmp_path / target.kind / "digits"
    assert target.current(tmp_path, "digits") == at(11, 1)
    assert staging.staged(tmp_path / target.kind / "digits") == [1, 2]
    assert digest_folder(base / "1") == one.digest
    assert digest_folder(base / "2") == two.digest


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


def parsed_config(root: Path) -> dict[str, tuple[str, list[int], dict[str, int]]]:
    """Model -> (base path, versions, labels) as TensorFlow Serving's own parser reads them."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (root / "tf_serving" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {
        each.name: (
            each.base_path,
            list(each.model_version_policy.specific.versions),
            dict(each.version_labels),
        )
        for each in config.model_config_list.config
    }


def test_the_config_serves_the_pointers_version_and_going_back_deletes_nothing(
    tmp_path: Path, make_payload: MakePayload
) -> None:
    for version in (1, 2):
        tfs().stage(tmp_path, "digits", version, make_payload("one"))
    tfs().point(tmp_path, "digits", at(3, 1))
    assert parsed_config(tmp_path) == {"digits": (str(tmp_path / "tf_serving/digits"), [1], {"stable": 1})}

    tfs().point(tmp_path, "digits", at(7, 2, previous=1))
    # The old version stays loaded until the label has moved, and for the way back.
    assert parsed_config(tmp_path)["digits"][1:] == ([2, 1], {"stable": 2})

    tfs().point(tmp_path, "digits", at(11, 1))
    assert parsed_config(tmp_path)["digits"][1:] == ([1], {"stable": 1})
    assert staging.staged(tmp_path / "tf_serving" / "digits") == [1, 2]


@pytest.mark.parametrize("previous", [3, 1])
def test_a_higher_or_a_removed_predecessor_is_not_loaded(
    tmp_path: Path, make_payload: MakePayload, previous: int
) -> None:
    for version in (2, 3):
        tfs().stage(tmp_path, "digits", version, make_payload("one"))

    tfs().point(tmp_path, "digits", at(7, 2, previous=previous))

    assert parsed_config(tmp_path)["digits"][1:] == ([2], {"stable": 2})


def test_the_config_holds_every_model_and_loses_a_withdrawn_one(tmp_path: Path, make_payload: MakePayload) -> None:
    for model in ("digits", "cats"):
        tfs().stage(tmp_path, model, 1, make_payload("one"))
        tfs().point(tmp_path, model, at(3, 1))
    assert sorted(parsed_config(tmp_path)) == ["cats", "digits"]

    tfs().withdraw(tmp_path, "cats")
    assert sorted(parsed_config(tmp_path)) == ["digits"]


def test_pointing_again_repairs_a_config_that_a_killed_process_did_not_write(
    tmp_path: Path, make_payload: MakePayload
) -> None:
    tfs().stage(tmp_path, "digits", 1, make_payload("one"))
    tfs().point(tmp_path, "digits", at(3, 1))
    (tmp_path / "tf_serving" / "models.config").unlink()

    tfs().point(tmp_path, "digits", at(3, 1))

    assert parsed_config(tmp_path)["digits"][1:] == ([1], {"stable": 1})


def test_only_integer_names_and_no_half_copies_stand_where_tensorflow_serving_looks(
    tmp_path: Path, make_payload: MakePayload
) -> None:
    payload = make_payload("one")
    Path(payload.folder, "saved_model.pb").write_bytes(b"changed")
    with pytest.raises(Exception, match="has other bytes"):
        tfs().stage(tmp_path, "digits", 1, payload)

    assert list((tmp_path / "tf_serving" / "digits").iterdir()) == []


def test_a_folder_with_quotes_survives_the_text_form() -> None:
    assert r'base_path: "/models/a \"b\" \\c/digits"' in config_text([(Path('/models/a "b" \\c/digits'), 1, [1])])
