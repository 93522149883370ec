import json
import os

import pytest

from tasks.bundle.verify import verify
from tasks.foundations.errors import DigestMismatch


def test_the_file_that_mlflow_adds_changes_nothing(sealed):
    folder, manifest = sealed
    (folder / "registered_model_meta").write_text("model_name: digits\n")
    (folder / "targets/cpu/registered_model_meta").write_text("model_name: digits\n")

    assert verify(folder) == manifest
    assert verify(folder).digest == manifest.digest


def changed(folder):
    path = folder / "targets/cpu/model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def grown(folder):
    with (folder / "evidence/config.json").open("a") as stream:
        stream.write(" ")


def missing(folder):
    (folder / "targets/cpu/golden/golden.json").unlink()


def extra(folder):
    (folder / "targets/cpu/weights.bin").write_bytes(b"")


def hidden(folder):
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("")


def meta_elsewhere(folder):
    (folder / "evidence/registered_model_meta").write_text("")


def link(folder):
    path = folder / "targets/cpu/model.onnx"
    path.rename(folder.parent / "moved.onnx")
    path.symlink_to(folder.parent / "moved.onnx")


def linked_folder(folder):
    (folder / "targets/cpu/golden").rename(folder.parent / "golden")
    (folder / "targets/cpu/golden").symlink_to(folder.parent / "golden")


def fifo(folder):
    os.mkfifo(folder / "evidence/pipe")


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (changed, "changed: targets/cpu/model.onnx"),
        (grown, "changed: evidence/config.json"),
        (missing, "missing: targets/cpu/golden/golden.json"),
        (extra, "extra: targets/cpu/weights.bin"),
        (hidden, "extra: .git/config"),
        (meta_elsewhere, "extra: evidence/registered_model_meta"),
        (link, "a link or special file: targets/cpu/model.onnx"),
        (linked_folder, "a link or special file: targets/cpu/golden"),
        (fifo, "a link or special file: evidence/pipe"),
    ],
)
def test_every_kind_of_tampering_is_named(sealed, tamper, words):
    folder, _ = sealed
    tamper(folder)

    with pytest.raises(DigestMismatch, match=words.replace(".", r"\.")):
        verify(folder)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "./a", "a//b", "a\\b", ""])
def test_a_manifest_cannot_point_outside(sealed, path):
    folder, _ = sealed
    content = json.loads((folder / "manifest.json").read_text())
    content["files"][path] = {"sha256": "0" * 64, "size": 1}
    (folder / "manifest.json").write_text(json.dumps(content))

    with pytest.raises(DigestMismatch, match="plain relative path"):
        verify(folder)


def test_a_manifest_that_contradicts_itself_about_a_target_is_refused(sealed):
    folder, _ = sealed
    content = json.loads((folder / "manifest.json").read_text())
    content["targets"]["cpu"]["digest"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(content))

    with pytest.raises(DigestMismatch, match="contradicts itself"):
        verify(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 2}', "\0"])
def test_what_is_no_manifest_is_refused_in_words(sealed, content):
    folder, _ = sealed
    (folder / "manifest.json").write_text(content)

    with pytest.raises(DigestMismatch, match="manifest"):
        verify(folder)


def test_an_edited_manifest_has_another_digest(sealed):
    folder, manifest = sealed
    content = json.loads((folder / "manifest.json").read_text())
    content["targets"]["cpu"]["runtime"]["threads"] = 64
    (folder / "manifest.json").write_text(json.dumps(content))

    assert verify(folder).digest != manifest.digest
