"""Where an installation lies: never relative to the current folder, and told in one sentence where it cannot be."""

import pytest

from flows.home import CHECKOUT, home
from tasks.foundations.errors import InputError


def test_the_home_does_not_depend_on_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "new"))
    monkeypatch.chdir(tmp_path)

    assert home().root == tmp_path / "new"
    assert home().root.is_dir()


def test_without_a_variable_it_lies_in_the_checkout(monkeypatch, tmp_path):
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.home.CHECKOUT", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").touch()

    assert home().root == tmp_path / "checkout" / ".slipway"
    assert (CHECKOUT / "flows").is_dir()


def test_without_a_checkout_the_variable_is_needed(monkeypatch, tmp_path):
    """It would lie among the installed packages."""
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    monkeypatch.setattr("flows.home.CHECKOUT", tmp_path)

    with pytest.raises(InputError, match="let SLIPWAY_HOME name the folder"):
        home()


def test_a_home_that_is_a_file_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "file"))

    with pytest.raises(InputError, match="cannot be the home of an installation: File exists. Let SLIPWAY_HOME name"):
        home()
