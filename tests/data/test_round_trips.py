"""Whatever a table holds comes back from csv and from parquet as it was, in the files' order."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.data.reading import Reading
from tasks.foundations.menu import choices

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SHORT_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
# Text of which no value reads as a number or as missing, as the words of a column do.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12).map(
    "w{}".format
)
WRITE = {
    "csv": lambda table, path: pyarrow.csv.write_csv(table, path),
    "parquet": lambda table, path: pyarrow.parquet.write_table(table, path, row_group_size=3),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 12))

    def column(values):
        return draw(st.lists(values, min_size=rows, max_size=rows))

    return {
        "split": column(st.sampled_from(["train", "test"])),
        "whole": np.array(column(INTEGERS), dtype="int64"),
        "real": np.array(column(SHORT_FLOATS), dtype="float32"),
        "word": np.array(column(WORDS)),
        "target": np.array(column(FLOATS), dtype="float64"),
    }


@pytest.mark.parametrize("kind", WRITE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=tables())
def test_every_value_comes_back(kind, content):
    keys = {"path": "data", "label": "target", "split_column": "split", "slices": ["word"]}
    source = choices("tasks.data.sources")[kind].model_validate(
        {"kind": kind, **keys, "inputs": {"whole": "whole", "real": ["real"], "word": "word"}}
    )
    with tempfile.TemporaryDirectory() as folder:
        WRITE[kind](pa.table(content), f"{folder}/data")
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        found = source.read(Reading(Path(folder), scratch, 0, "regression"))

        assert set(found) == set(content["split"])
        for split, part in found.items():
            chosen = np.array(content["split"]) == split
            np.testing.assert_array_equal(part["inputs"]["whole"], content["whole"][chosen])
            np.testing.assert_array_equal(part["inputs"]["real"][:, 0], content["real"][chosen])
            np.testing.assert_array_equal(part["labels"], content["target"][chosen])
            assert (
                part["inputs"]["word"].tolist() == part["slices"]["word"].tolist() == content["word"][chosen].tolist()
            )
