import json
import shutil
from pathlib import Path

import pytest
from parts import SIGNATURE, onnx_winner, request, session_run

from tasks.bundle.golden import check_golden
from tasks.bundle.manifest import Manifest
from tasks.bundle.verify import target_digest, verify
from tasks.bundle.write import layout, seal
from tasks.foundations.errors import DigestMismatch, StepFailed
from tasks.store.digest import digest_file, digest_folder


def test_a_targets_folder_can_be_copied_whole_and_answers_there(sealed, tmp_path):
    folder, manifest = sealed
    entry = manifest.targets["cpu"]

    shutil.copytree(folder / entry.path, tmp_path / "node")

    assert digest_folder(tmp_path / "node") == entry.digest == target_digest(manifest.target_files("cpu"))
    check_golden(tmp_path / "node" / "golden", session_run(tmp_path / "node" / "model.onnx"))


def test_the_model_keeps_the_bytes_that_were_gated(tmp_path):
    winner = onnx_winner(tmp_path / "w")
    asked = request(tmp_path / "r", {"cpu": winner})

    folder = layout(asked)
    manifest = seal(asked)

    gated = digest_file(Path(winner.folder) / "model.onnx")
    assert digest_file(folder / "targets/cpu/model.onnx") == gated
    assert manifest.files["targets/cpu/model.onnx"].sha256 == gated
    assert manifest.winner_digests == {"cpu": winner.digest}
    assert manifest.signature == SIGNATURE
    assert json.loads((folder / "evidence/config.json").read_text()) == {"name": "digits"}
    assert (folder / "evidence/proof.json").is_file()


def test_equal_winners_are_equal_whatever_the_release_is_called(tmp_path):
    manifests = []
    for name in ("a", "b"):
        asked = request(tmp_path / name, {"cpu": onnx_winner(tmp_path / name / "w")}, release=name)
        layout(asked)
        manifests.append(seal(asked))

    assert manifests[0].winner_digests == manifests[1].winner_digests
    assert manifests[0].made_by.release != manifests[1].made_by.release


def test_a_winner_that_changed_after_its_gates_is_not_bundled(tmp_path):
    winner = onnx_winner(tmp_path / "w")
    with (Path(winner.folder) / "model.onnx").open("ab") as stream:
        stream.write(b"\0")

    with pytest.raises(DigestMismatch, match="passed the gates"):
        layout(request(tmp_path / "r", {"cpu": winner}))


def test_winners_with_two_signatures_are_not_one_version(tmp_path):
    other = onnx_winner(tmp_path / "b")
    renamed = SIGNATURE.model_copy(update={"outputs": {"other": SIGNATURE.outputs["scores"]}})
    renamed.write(Path(other.folder))

    with pytest.raises(StepFailed, match="different signatures"):
        layout(request(tmp_path / "r", {"cpu": onnx_winner(tmp_path / "a"), "edge": other}))


def test_no_winner_makes_no_bundle(tmp_path):
    with pytest.raises(StepFailed, match="nothing to bundle"):
        layout(request(tmp_path / "r", {}))

    assert not (tmp_path / "r" / "bundle").exists()


def test_before_it_is_sealed_it_is_no_bundle(tmp_path):
    folder = layout(request(tmp_path / "r", {"cpu": onnx_winner(tmp_path / "w")}))

    with pytest.raises(DigestMismatch, match="no finished bundle"):
        verify(folder)


def test_a_manifest_survives_the_disk(sealed):
    folder, manifest = sealed

    assert Manifest.read(folder) == manifest == verify(folder)
    assert json.loads((folder / "manifest.json").read_text())["schema"] == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\\b"])
def test_a_target_name_cannot_leave_the_bundle(tmp_path, name):
    with pytest.raises(ValueError, match="folder name"):
        request(tmp_path / "r", {name: onnx_winner(tmp_path / "w")})
