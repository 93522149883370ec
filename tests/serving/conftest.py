"""A small payload of plain files: staging does not look into them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tf_serving_stand_in.py

from tasks.bundle.manifest import FileEntry
from tasks.serving.staging import Payload
from tasks.store.digest import digest_file, digest_folder, list_files

MakePayload = Callable[[str], Payload]


@pytest.fixture
def make_payload(tmp_path: Path) -> MakePayload:
    """A payload whose files differ with the given word."""

    def make(word: str) -> Payload:
        folder = tmp_path / "bundles" / word
        for name in ("saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(f"{name} of {word}".encode() * 100)
        (folder / "empty").touch()
        files = {
            name: FileEntry(sha256=digest_file(path), size=path.stat().st_size)
            for name, path in list_files(folder).items()
        }
        return Payload(folder=str(folder), digest=digest_folder(folder), files=files)

    return make
