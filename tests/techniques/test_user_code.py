"""A fit on another machine uses that machine's copy of the user's code, and only if it is the same."""

from pathlib import Path

import pytest

from tasks.evaluation.meaning import meaning_of
from tasks.evaluation.task import Regression
from tasks.foundations import checkout
from tasks.foundations.checkout import from_checkout
from tasks.foundations.errors import InputError
from tasks.techniques.fine_tuning import FineTuning
from tasks.techniques.user_code import settled, user_sources
from tasks.training.config import TrainingConfig
from tasks.training.fit import FitSettings

LOSS = "def loss(labels, outputs):\n    return (labels - outputs) ** 2\n"
TUNING = FineTuning(kind="fine_tuning")


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Two checkouts; gives the fit as the release has it in the first, and goes over to the second."""
    here, there = tmp_path / "here", tmp_path / "there"
    for machine in (here, there):
        (machine / "configs").mkdir(parents=True)
        (machine / "configs" / "own.py").write_text(LOSS)
    training = TrainingConfig(loss="own.py:loss", epochs=1)
    meaning = meaning_of(Regression(kind="regression"))
    fit = FitSettings(training=training, meaning=meaning, seed=0, folder=str(here / "configs"))
    monkeypatch.setattr(checkout, "CHECKOUT", here)
    told = from_checkout(Path(fit.folder))
    monkeypatch.setattr(checkout, "CHECKOUT", there)
    return fit, told, there / "configs"


def test_a_path_is_told_from_the_checkout_where_it_lies_in_it(machines, tmp_path):
    assert machines[1] == "configs"
    assert from_checkout(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


def test_the_same_code_is_used_where_the_other_checkout_has_it(machines):
    fit, told, folder = machines

    assert settled(TUNING, fit, told, user_sources(TUNING, fit)).folder == str(folder)


def test_other_code_is_refused(machines):
    fit, told, folder = machines
    (folder / "own.py").write_text(LOSS.replace("** 2", "** 4"))

    with pytest.raises(InputError, match="fine_tuning: the code in .*there/configs is not the release's"):
        settled(TUNING, fit, told, user_sources(TUNING, fit))


def test_code_that_is_missing_is_named(machines):
    fit, told, folder = machines
    (folder / "own.py").unlink()

    with pytest.raises(InputError, match=r"there is no file .*there/configs/own.py.* Every machine that trains needs"):
        settled(TUNING, fit, told, user_sources(TUNING, fit))
