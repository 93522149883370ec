"""What stands in TensorFlow Serving's folders after every step, whichever way a server reads them, killed or not."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.foundations.errors import Conflict, SlipwayError
from tasks.serving import staging, tf_serving, tf_serving_config
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload
from tasks.serving.tf_serving import TfServing
from tasks.serving.tf_serving_config import Entry, config_text
from tasks.serving.tf_serving_status import CallFailed, LoadFailed, Loading, State
from tasks.store.digest import digest_folder

MakePayload = Callable[[str], Payload]
TFS = TfServing(kind="tf_serving", target="tfs")


def at(serial: int, version: int, previous: int | None = None) -> Pointer:
    return Pointer(serial=serial, version=version, digest=f"d{version}", previous=previous)


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "tf_serving/digits").iterdir() if path.is_dir())


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


@pytest.fixture
def staged(tmp_path: Path, make_payload: MakePayload) -> Path:
    """A serving folder with versions 1 to 3 staged and none served."""
    for version in (1, 2, 3):
        TFS.stage(tmp_path, "digits", version, make_payload("one"))
    return tmp_path


def test_a_staged_version_bears_no_number_until_it_is_pointed_to(staged: Path) -> None:
    assert folders(staged) == ["held-1", "held-2", "held-3"]

    TFS.point(staged, "digits", at(3, 2))

    assert folders(staged) == ["2", "held-1", "held-3"]


def test_the_version_pointed_to_is_the_highest_number_on_the_way_up_and_back(staged: Path) -> None:
    digest = digest_folder(staged / "tf_serving/digits/held-1")
    seen = []
    for pointer in (at(3, 1), at(7, 3, previous=1), at(11, 2, previous=1), at(15, 1)):
        TFS.point(staged, "digits", pointer)
        seen.append(folders(staged))

    assert seen == [
        ["1", "held-2", "held-3"],
        ["1", "3", "held-2"],
        ["1", "2", "held-3"],
        ["1", "held-2", "held-3"],
    ]
    assert {digest_folder(staged / "tf_serving/digits" / name) for name in seen[-1]} == {digest}


@pytest.mark.parametrize("number", [True, False])
def test_an_intact_copy_is_found_under_either_name_and_a_damaged_one_mended(
    staged: Path, make_payload: MakePayload, number: bool
) -> None:
    if number:
        TFS.point(staged, "digits", at(3, 2))
    name = "2" if number else "held-2"
    assert not TFS.stage(staged, "digits", 2, make_payload("one"))
    (staged / "tf_serving/digits" / name / "saved_model.pb").write_bytes(b"x")

    assert TFS.stage(staged, "digits", 2, make_payload("one"))

    assert folders(staged) == sorted(["held-1", name, "held-3"])
    assert digest_folder(staged / "tf_serving/digits" / name) == make_payload("one").digest


def test_a_second_copy_that_a_killed_process_left_is_removed(staged: Path) -> None:
    TFS.point(staged, "digits", at(3, 2))
    (staged / "tf_serving/digits/held-2").mkdir()
    TFS.point(staged, "digits", at(7, 1))

    assert folders(staged) == ["1", "held-2", "held-3"]
    assert (staged / "tf_serving/digits/held-2/saved_model.pb").exists()


def test_withdrawing_hides_every_number(staged: Path) -> None:
    TFS.point(staged, "digits", at(3, 1))
    TFS.point(staged, "digits", at(7, 2, previous=1))

    TFS.withdraw(staged, "digits")

    assert folders(staged) == ["held-1", "held-2", "held-3"]
    assert parsed_config(staged) == {}
    TFS.point(staged, "digits", at(11, 2))
    assert parsed_config(staged)["digits"][1:] == ([2], {"stable": 2})


def test_held_versions_are_pruned_too(staged: Path) -> None:
    TFS.point(staged, "digits", at(3, 2))

    assert TFS.prune(staged, "digits", frozenset({3}), dry_run=True) == [1]
    assert TFS.prune(staged, "digits", frozenset({3})) == [1]
    assert folders(staged) == ["2", "held-3"]


def test_pointing_to_a_version_that_is_not_there_says_so_and_tells_servers_nothing(staged: Path) -> None:
    TFS.point(staged, "digits", at(3, 1))

    with pytest.raises(SlipwayError, match="holds no copy of version 9"):
        TFS.point(staged, "digits", at(7, 9))
    assert parsed_config(staged)["digits"][1:] == ([1], {"stable": 1})


def test_a_late_move_renames_nothing(staged: Path) -> None:
    TFS.point(staged, "digits", at(7, 1))

    with pytest.raises(Conflict):
        TFS.point(staged, "digits", at(3, 2))
    assert folders(staged) == ["1", "held-2", "held-3"]


def test_the_config_serves_the_pointers_version_and_keeps_the_lower_one_loaded(staged: Path) -> None:
    TFS.point(staged, "digits", at(3, 1))
    assert parsed_config(staged) == {"digits": (str(staged / "tf_serving/digits"), [1], {"stable": 1})}

    TFS.point(staged, "digits", at(7, 2, previous=1))
    assert parsed_config(staged)["digits"][1:] == ([2, 1], {"stable": 2})

    TFS.point(staged, "digits", at(11, 1))
    assert parsed_config(staged)["digits"][1:] == ([1], {"stable": 1})


@pytest.mark.parametrize("previous", [3, 1])
def test_a_higher_or_a_removed_predecessor_is_not_loaded(staged: Path, previous: int) -> None:
    TFS.prune(staged, "digits", frozenset({2, 3}))

    TFS.point(staged, "digits", at(7, 2, previous=previous))

    assert parsed_config(staged)["digits"][1:] == ([2], {"stable": 2})


def configs_of_a_move(staged: Path, monkeypatch: pytest.MonkeyPatch, pointer: Pointer) -> list[Any]:
    seen: list[Any] = []
    original = TfServing._write_config

    def watched(self: TfServing, root: Path) -> None:
        original(self, root)
        seen.append(parsed_config(root)["digits"][1:])

    monkeypatch.setattr(TfServing, "_write_config", watched)
    TFS.point(staged, "digits", pointer)
    return seen


def test_a_label_moves_only_after_its_version_was_given_to_load(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TFS.point(staged, "digits", at(3, 1))

    assert configs_of_a_move(staged, monkeypatch, at(7, 3, previous=1)) == [
        ([1, 3], {"stable": 1}),
        ([3, 1], {"stable": 3}),
    ]


def test_a_version_to_go_back_to_that_is_not_loaded_is_loaded_beside_the_old_one(
    staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TFS.point(staged, "digits", at(3, 3))

    assert configs_of_a_move(staged, monkeypatch, at(7, 1)) == [([3, 1], {"stable": 3}), ([1], {"stable": 1})]


def test_the_config_holds_every_model_and_loses_a_withdrawn_one(tmp_path: Path, make_payload: MakePayload) -> None:
    for model in ("digits", "cats"):
        TFS.stage(tmp_path, model, 1, make_payload("one"))
        TFS.point(tmp_path, model, at(3, 1))
    assert sorted(parsed_config(tmp_path)) == ["cats", "digits"]

    TFS.withdraw(tmp_path, "cats")
    assert sorted(parsed_config(tmp_path)) == ["digits"]


@pytest.mark.parametrize("lost", ["models.config", "digits/entry.json"])
def test_pointing_again_repairs_what_a_hand_has_removed(staged: Path, lost: str) -> None:
    TFS.point(staged, "digits", at(3, 1))
    (staged / "tf_serving" / lost).unlink()

    TFS.point(staged, "digits", at(3, 1))

    assert parsed_config(staged)["digits"][1:] == ([1], {"stable": 1})
    assert (staged / "tf_serving" / lost).exists()


def test_half_copies_never_stand_where_tensorflow_serving_looks(tmp_path: Path, make_payload: MakePayload) -> None:
    payload = make_payload("one")
    Path(payload.folder, "saved_model.pb").write_bytes(b"changed")
    with pytest.raises(Exception, match="has other bytes"):
        TFS.stage(tmp_path, "digits", 1, payload)

    assert list((tmp_path / "tf_serving" / "digits").iterdir()) == []


def test_a_folder_with_quotes_survives_the_text_form() -> None:
    text = config_text([(Path('/models/a "b" \\c/digits'), Entry(versions=(1,)))])

    assert r'base_path: "/models/a \"b\" \\c/digits"' in text


def killed(action: Callable[[], object]) -> bool:
    """Run in a forked process; whether it was killed."""
    child = multiprocessing.get_context("fork").Process(target=action)
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def die_at(step: int) -> None:
    """In a child: be killed before the so-many-th change of the file system."""
    left = [step]

    def counted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def dying(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, dying)

    for name in ("rename", "replace", "unlink", "symlink_to", "mkdir"):
        counted(Path, name)


MOVES = {
    "back": [at(3, 1), at(7, 2, previous=1), at(11, 1)],
    "far back": [at(3, 1), at(7, 3, previous=1), at(11, 2)],
    "first": [at(3, 2)],
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_killed_before_any_of_its_changes_is_finished_by_pointing_again(
    staged: Path, make_payload: MakePayload, move: str
) -> None:
    *before, last = MOVES[move]
    for pointer in before:
        TFS.point(staged, "digits", pointer)

    def child(step: int) -> None:
        die_at(step)
        TFS.point(staged, "digits", last)

    step = 0
    while killed(partial(child, step)):  # goes on from where the one before was killed, one change further at least
        numbers = {int(name) for name in folders(staged) if name.isdecimal()}
        if before:
            assert max(numbers) in (before[-1].version, last.version)
            _, versions, labels = parsed_config(staged)["digits"]
            assert labels["stable"] in numbers & set(versions)
        step += 1
        assert step < 60
    TFS.sweep(staged, "digits")
    TFS.point(staged, "digits", last)

    assert step > 2
    numbers = [name for name in folders(staged) if name.isdecimal()]
    assert max(map(int, numbers)) == last.version
    keeps = [last.version] if last.previous is None else [last.version, last.previous]
    assert parsed_config(staged)["digits"][1:] == (keeps, {"stable": last.version})
    assert not any(TFS.stage(staged, "digits", version, make_payload("one")) for version in (1, 2, 3))


@contextmanager
def nobody(addresses: tuple[str, ...]) -> Any:
    yield [SimpleNamespace(address=address, answering=lambda *_: 1) for address in addresses]


@contextmanager
def silent(addresses: tuple[str, ...]) -> Any:
    def answering(*_: object) -> None:
        raise CallFailed("it does not answer")

    yield [SimpleNamespace(address=address, answering=answering) for address in addresses]


def test_a_trial_that_was_killed_is_ended_by_whoever_comes_next(
    staged: Path, make_payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    TFS.point(staged, "digits", at(3, 1))
    listed = TFS.model_copy(update={"servers": ("somewhere:8500",)})
    monkeypatch.setattr(tf_serving, "connected", nobody)
    monkeypatch.setattr(TfServing, "_try", lambda *_: os.kill(os.getpid(), signal.SIGKILL))

    for end in (
        lambda: TFS.sweep(staged, "digits"),
        lambda: TFS.point(staged, "digits", at(3, 1)),
        lambda: TFS.stage(staged, "digits", 2, make_payload("one")),
    ):
        assert killed(lambda: listed.validate(staged, "digits", 2, make_payload("one")))
        trial = (str(staged / "tf_serving/digits/canary"), [2], {})
        assert parsed_config(staged)["digits.canary"] == trial
        assert (staged / "tf_serving/digits/canary/2/saved_model.pb").exists()
        assert folders(staged) == ["1", "canary", "held-2", "held-3"]  # production has not seen it

        end()

        assert sorted(parsed_config(staged)) == ["digits"]
        assert list((staged / "tf_serving/digits/canary").iterdir()) == []
    assert TFS.sweep(staged, "digits") == []


def test_two_models_on_their_way_do_not_undo_each_others_step(
    tmp_path: Path, make_payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("digits", "cats"):
        for version in (1, 2):
            TFS.stage(tmp_path, model, version, make_payload("one"))
        TFS.point(tmp_path, model, at(3, 1))
    seen = []

    def meanwhile(*_: object, **__: object) -> None:
        monkeypatch.setattr(TfServing, "_await", lambda *_, **__: None)
        TFS.point(tmp_path, "cats", at(7, 2, previous=1))
        seen.append(parsed_config(tmp_path))

    monkeypatch.setattr(TfServing, "_await", meanwhile)
    TFS.point(tmp_path, "digits", at(7, 2, previous=1))

    assert seen[0]["digits"][1:] == ([1, 2], {"stable": 1})
    assert parsed_config(tmp_path)["cats"][1:] == parsed_config(tmp_path)["digits"][1:] == ([2, 1], {"stable": 2})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What moves would have waited."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_where_no_server_is_listed_nothing_is_waited_for(
    staged: Path, make_payload: MakePayload, slept: list[float]
) -> None:
    for pointer in (at(3, 1), at(7, 3, previous=1), at(11, 2, previous=1), at(15, 1)):
        TFS.stage(staged, "digits", pointer.version, make_payload("one"))
        TFS.validate(staged, "digits", pointer.version, make_payload("one"))
        TFS.point(staged, "digits", pointer)
        TFS.observe(staged, "digits", pointer)

    assert slept == []


def test_a_server_that_is_not_listed_is_given_the_time_that_is_set_to_read_each_change(
    staged: Path, slept: list[float]
) -> None:
    patient = TFS.model_copy(update={"settle_s": 500.0})

    patient.point(staged, "digits", at(3, 1))
    assert slept == []  # no label moves and nothing is hidden
    patient.point(staged, "digits", at(7, 2, previous=1))
    assert [100 < seconds <= 500 for seconds in slept] == [True]
    patient.point(staged, "digits", at(7, 2, previous=1))
    assert len(slept) == 1

    os.utime(staged / "tf_serving/models.config", (1, 1))  # read long ago
    patient.point(staged, "digits", at(11, 1))
    assert [seconds > 100 for seconds in slept] == [True, True]


@pytest.mark.parametrize(("settle_s", "waits"), [(None, [2.0]), (500.0, [500.0]), (0.0, [])])
def test_a_listed_server_that_is_silent_is_given_two_seconds_or_what_is_set(
    staged: Path,
    slept: list[float],
    monkeypatch: pytest.MonkeyPatch,
    settle_s: float | None,
    waits: list[float],
) -> None:
    TFS.point(staged, "digits", at(3, 1))
    monkeypatch.setattr(tf_serving, "connected", silent)
    monkeypatch.setattr(tf_serving.time, "time", lambda: (staged / "tf_serving/models.config").stat().st_mtime)

    listed = TFS.model_copy(update={"servers": ("somewhere:8500",), "settle_s": settle_s})
    listed.point(staged, "digits", at(7, 2, previous=1))

    assert slept == waits


def test_an_installation_of_integer_folders_only_is_taken_over(staged: Path) -> None:
    """As it was before copies were held: every staged version bears its number."""
    base = staged / "tf_serving/digits"
    for version in (1, 2, 3):
        (base / f"held-{version}").rename(base / str(version))
    (base / "pointer.json").write_text(at(3, 1).model_dump_json())
    assert tf_serving_config.read(base) == Entry(versions=(1,), stable=1)

    TFS.point(staged, "digits", at(7, 2, previous=1))

    assert folders(staged) == ["1", "2", "held-3"]
    assert parsed_config(staged)["digits"][1:] == ([2, 1], {"stable": 2})
    assert staging.staged(base) == [1, 2, 3]


def saying(*states: State | None) -> Any:
    left = list(states)
    return SimpleNamespace(address="somewhere:8500", state=lambda *_: left.pop(0))


UP, GONE = State(state="AVAILABLE", code="OK", message=""), State(state="END", code="OK", message="")
BROKEN = State(state="END", code="INVALID_ARGUMENT", message="no such input")


def test_a_version_that_was_loaded_already_may_be_about_to_go() -> None:
    doubting, sure = Loading("digits", 1, patience_s=60, doubt_s=60), Loading("digits", 1, patience_s=60)
    server = saying(UP, UP, GONE, UP)

    assert [doubting(server) is None for _ in range(4)] == [False, False, False, True]
    assert sure(saying(UP)) is None
    assert doubting(saying(UP)) is None  # it came after it had been asked for


def test_an_error_that_a_server_remembers_counts_only_when_it_stays() -> None:
    patient, impatient = Loading("digits", 1, patience_s=60), Loading("digits", 1, patience_s=0)
    server = saying(BROKEN, State(state="LOADING", code="OK", message=""), None, UP)

    assert patient(server) == "it says END, INVALID_ARGUMENT: no such input"
    assert patient(server) == "it says LOADING"
    assert patient(server) == "it does not know version 1 of digits"
    assert patient(server) is None
    with pytest.raises(LoadFailed, match="it says END, INVALID_ARGUMENT: no such input"):
        impatient(saying(BROKEN))
