"""What every model source promises, beside what every choice of a menu does."""

import inspect

import pytest

from tasks.foundations.menu import choices

SOURCES = choices("tasks.models.sources")
FETCHED = {"registered"}  # opened as one of the others, when its files are here


@pytest.mark.parametrize("word", SOURCES)
def test_a_source_says_what_its_model_is_fit_for(word):
    source = SOURCES[word]

    assert isinstance(source.needs_training, bool)
    assert isinstance(source.inference_only, bool)
    assert not (source.needs_training and source.inference_only)


@pytest.mark.parametrize("word", SOURCES)
def test_a_source_has_the_methods_of_its_kind(word):
    source = SOURCES[word]
    wanted = {"open": ["folder", "seed"], "source_digest": ["folder"]}
    if not source.needs_training:
        wanted = {"inspect": ["folder"], "write": ["folder", "out", "meaning"]}
    if word in FETCHED:
        wanted = {"opened": ["fetched", "found"]}

    for name, parameters in {"problems": ["folder"], **wanted}.items():
        assert list(inspect.signature(getattr(source, name)).parameters)[1:] == parameters, name


@pytest.mark.parametrize("word", [word for word in SOURCES if "path" in SOURCES[word].model_fields])
def test_a_path_that_is_not_there_is_told_by_check(word, tmp_path):
    for path in ("none.keras", "none"):
        problems = dict(SOURCES[word](kind=word, path=path).problems(tmp_path))

        assert list(problems) == ["path"]
        assert "none" in problems["path"]


@pytest.mark.parametrize("word", [word for word in SOURCES if "custom_objects" in SOURCES[word].model_fields])
def test_code_that_is_not_there_is_told_by_check(word, tmp_path):
    (tmp_path / "layers.py").touch()
    given = {"path": "x.keras"} if "path" in SOURCES[word].model_fields else {"name": "x", "version": 1}
    problems = dict(SOURCES[word](kind=word, custom_objects="layer.py", **given).problems(tmp_path))

    assert "Did you mean layers.py?" in problems["custom_objects"]
