"""Sizes are those of the file system and of the gzip command, for files and for folders."""

import gzip

import numpy as np
import pytest

from tasks.models import sizes


def test_a_file_is_measured_raw_and_as_gzip_packs_it(tmp_path):
    content = np.repeat(np.arange(50_000, dtype=np.int32), 3).tobytes()
    (tmp_path / "model.onnx").write_bytes(content)
    found = sizes.measure(tmp_path / "model.onnx")
    assert found.raw_bytes == len(content)
    assert found.gzip_bytes == pytest.approx(len(gzip.compress(content, 6)), abs=32)


def test_a_folder_is_the_sum_of_its_files_and_one_stream(tmp_path):
    noise = np.random.default_rng(0).bytes(5000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(noise)
    (tmp_path / "two").write_bytes(noise)
    found = sizes.measure(tmp_path)
    assert found.raw_bytes == 10_000
    assert found.gzip_bytes < 5500, "equal files in one stream are packed once"


def test_chunks_change_nothing(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"weights" * 5000)
    whole = sizes.measure(tmp_path)
    monkeypatch.setattr(sizes, "CHUNK", 100)
    assert sizes.measure(tmp_path) == whole
