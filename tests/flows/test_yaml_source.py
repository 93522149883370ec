"""YAML positions: every key and item is found on the line where it stands."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.yaml_source import read
from tasks.foundations.errors import InputError

KEYS = st.text(alphabet="abcdefghij_", min_size=1, max_size=6).filter(lambda word: word not in ("y", "n"))
LEAVES = st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=8), st.floats(allow_nan=False))
CONTENT = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)),
    min_size=1,
    max_size=4,
)


def places(content: object, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(content, dict):
        pairs = list(content.items())
    else:
        pairs = list(enumerate(content)) if isinstance(content, list) else []
    return [inner for key, value in pairs for inner in ((*where, key), *places(value, (*where, key)))]


@given(content=CONTENT, flow=st.booleans())
def test_content_is_what_yaml_reads_and_every_key_stands_on_its_line(content, flow, tmp_path_factory):
    path = Path(tmp_path_factory.getbasetemp()) / "positions.yaml"
    text = yaml.safe_dump(content, default_flow_style=flow, sort_keys=False)
    path.write_text(text)

    source = read(path)

    assert source.content == yaml.safe_load(text)
    lines = text.splitlines()
    for where in places(source.content):
        if isinstance(where[-1], str):
            assert f"{where[-1]}:" in lines[source.line(where) - 1]


def test_a_place_that_is_not_in_the_file_has_the_line_of_what_holds_it(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: a\ntargets:\n  cpu:\n    threads: 1\n")

    source = read(path)

    assert source.line(("targets", "cpu", "runtime")) == 3
    assert source.line(("serving", 0)) == 1


def test_names_of_union_members_are_left_out_of_a_place(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("chain:\n  - {kind: int8, rows: x}\n")

    source = read(path)

    assert source.locate(("chain", 0, "int8", "rows")) == ("chain", 0, "rows")
    assert source.locate(("chain", 0, "int8", "float"), missing=False) == ("chain", 0)
    assert source.locate(("chain", 0, "int8", "calibration"), missing=True) == ("chain", 0, "calibration")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\n")

    assert read(path).content == {"name": "a"}


def test_a_number_as_a_key_stands_on_its_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n8: b\n")

    assert read(path).line((8,)) == 2


@pytest.mark.parametrize("value", ["2024-02-30", "2024-13-45", "!!int abc", "!!float abc", "!!bool abc"])
@pytest.mark.parametrize("line", ["seed: {}", "{}: 0", "a: [{}]"])
def test_a_value_that_cannot_be_is_said_with_its_line(value, line, tmp_path):
    (tmp_path / "odd.yaml").write_text(f"name: x\n{line.format(value)}\n")

    with pytest.raises(InputError, match=r"odd\.yaml:2: '[^']*' cannot be read: .* Quote it"):
        read(tmp_path / "odd.yaml")
