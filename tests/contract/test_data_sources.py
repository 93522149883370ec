"""What every data source of the menu promises: the same rows give the same bytes, whatever file they came in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tasks.data.dataset import open_dataset
from tasks.data.reading import Reading
from tasks.data.write import ReadRequest, read_data
from tasks.foundations.menu import choices
from tasks.foundations.record import Record
from tasks.store.digest import digest_folder

WORDS = np.array(["setosa", "versicolor", "virginica"])
SHAPE = (2, 3)
SPLITS = {"train": 40, "calibration": 12, "test": 10}


def rows(count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "inputs": {
            "image": random.normal(size=(count, *SHAPE)).astype("float32"),
            "age": random.integers(0, 100, count),
            "word": np.array([f"wörd {value}" for value in random.integers(0, 50, count)]),
        },
        "labels": WORDS[np.arange(count) % 3],
        "slices": {
            "sex": np.array(["f", "m"])[random.integers(0, 2, count)],
            "year": random.integers(2000, 2003, count),
        },
    }


DATA = {split: rows(count, seed) for seed, (split, count) in enumerate(SPLITS.items())}
TABLE = {
    "splits": {split: f"{split}.data" for split in SPLITS},
    "inputs": {"image": {"columns": ["pixel*"], "shape": list(SHAPE)}, "age": "age", "word": "word"},
    "label": "kind of iris",
    "slices": ["sex", "year"],
}


def frame(split: str) -> dict[str, Any]:
    part = DATA[split]
    image = part["inputs"]["image"].reshape(-1, 6)
    return {
        **{f"pixel{index}": image[:, index] for index in range(6)},
        "age": part["inputs"]["age"],
        "word": part["inputs"]["word"],
        "kind of iris": part["labels"],
        **part["slices"],
    }


def flat(split: str) -> dict[str, Any]:
    part = DATA[split]
    named = {**{f"inputs_{name}": array for name, array in part["inputs"].items()}, "labels": part["labels"]}
    return named | {f"slices_{name}": array for name, array in part["slices"].items()}


def write_python(folder: Path) -> dict[str, Any]:
    code = "from tests.contract.test_data_sources import DATA\n\n\ndef load():\n    return DATA\n"
    (folder / "contract_rows.py").write_text(code)
    return {"entrypoint": "contract_rows.py:load"}


def write_csv(folder: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.csv

    for split in SPLITS:
        pyarrow.csv.write_csv(pa.table(frame(split)), folder / f"{split}.data")
    return TABLE


def write_parquet(folder: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet

    for split in SPLITS:
        pyarrow.parquet.write_table(pa.table(frame(split)), folder / f"{split}.data")
    return TABLE


def write_npz(folder: Path) -> dict[str, Any]:
    np.savez(folder / "data.npz", **{f"{split}_{key}": array for split in SPLITS for key, array in flat(split).items()})
    return {"path": "data.npz"}


def write_npy(folder: Path) -> dict[str, Any]:
    for split in SPLITS:
        for key, array in flat(split).items():
            np.save(folder / f"{split}_{key}.npy", array)
    return {
        "splits": {
            split: {
                "inputs": {name: f"{split}_inputs_{name}.npy" for name in DATA[split]["inputs"]},
                "labels": f"{split}_labels.npy",
                "slices": {name: f"{split}_slices_{name}.npy" for name in DATA[split]["slices"]},
            }
            for split in SPLITS
        }
    }


WRITERS = {"csv": write_csv, "npy": write_npy, "npz": write_npz, "parquet": write_parquet, "python": write_python}


@pytest.fixture(params=sorted(choices("tasks.data.sources")))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def source(kind: str, folder: Path) -> Record:
    folder.mkdir(exist_ok=True)
    return choices("tasks.data.sources")[kind].model_validate({"kind": kind, **WRITERS[kind](folder)})


def written(kind: str, folder: Path) -> Path:
    out = folder / "out"
    made = source(kind, folder)
    out.mkdir()
    read_data(ReadRequest(source=made, folder=str(folder), task="classification", seed=0, out=str(out)))
    return out


def test_the_same_rows_give_the_same_bytes_through_every_source(kind: str, tmp_path: Path) -> None:
    out, other = written(kind, tmp_path / "one"), written("python", tmp_path / "other")

    assert json.loads((out / "dataset.json").read_text()) == json.loads((other / "dataset.json").read_text())
    assert digest_folder(out) == digest_folder(other)


def test_the_rows_are_those_that_were_given(kind: str, tmp_path: Path) -> None:
    out = written(kind, tmp_path)
    test = open_dataset(out)["test"]

    for name, array in DATA["test"]["inputs"].items():
        np.testing.assert_array_equal(test.input_arrays()[name], array)
    for name, array in DATA["test"]["slices"].items():
        np.testing.assert_array_equal(test.slice_columns()[name], array)
    np.testing.assert_array_equal(np.array(test.classes)[test.labels()], DATA["test"]["labels"])


def test_a_source_survives_json_and_has_no_problems_where_its_files_are(kind: str, tmp_path: Path) -> None:
    made: Any = source(kind, tmp_path)

    assert type(made).model_validate_json(made.model_dump_json()) == made
    assert list(made.problems(tmp_path)) == []


def test_what_is_not_there_is_found_without_reading_anything(kind: str, tmp_path: Path) -> None:
    made: Any = source(kind, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    found = list(made.problems(tmp_path / "elsewhere"))

    assert found
    for where, sentence in found:
        assert where and "there is no file" in sentence and sentence.endswith(".")


def test_reading_writes_nothing_but_into_scratch(kind: str, tmp_path: Path) -> None:
    made: Any = source(kind, tmp_path / "configs")
    before = digest_folder(tmp_path / "configs")
    (tmp_path / "scratch").mkdir()
    made.read(Reading(tmp_path / "configs", tmp_path / "scratch", 0, "classification"))

    assert digest_folder(tmp_path / "configs") == before or kind == "python"


def test_the_examples_of_the_readme_are_right() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    block = text.split("**Data files**", 1)[1].split("```yaml\n", 1)[1].split("```", 1)[0]
    examples = [yaml.safe_load("{" + part) for part in f"\n{block}".split("\n{")[1:]]

    assert {example["kind"] for example in examples} == set(choices("tasks.data.sources")) - {"python"}
    for example in examples:
        choices("tasks.data.sources")[example["kind"]].model_validate(example)
