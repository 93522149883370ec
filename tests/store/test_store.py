import http.server
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.foundations.errors import DigestMismatch, SlipwayError
from tasks.store.action import Action, lookup, remember, source_digest, versions
from tasks.store.digest import digest_entries, digest_folder
from tasks.store.store import Store


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "store"), tmp_path / "cache")
    root = "memory:/" if request.param == "memory" else request.getfixturevalue("s3")
    return Store(f"{root}/{tmp_path.name}-{os.getpid()}", tmp_path / "cache")


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def publish(store: Store, **files: str):
    with store.scratch() as folder:
        return store.publish(fill(folder, **files), "test", {"step": "test"})


def action(**changes) -> Action:
    fields = {"step": "s", "inputs": {}, "settings": {}, "seed": 0, "libraries": {}, "sources": ""}
    return Action(**{**fields, **changes})


def test_what_is_published_can_be_read_back(store):
    artifact = publish(store, a="1", b="2")

    assert {path.name: path.read_text() for path in store.path(artifact.digest).iterdir()} == {"a": "1", "b": "2"}
    assert artifact.size_bytes == 2


def test_publishing_the_same_content_twice_gives_the_same_artifact(store):
    assert publish(store, a="1").digest == publish(store, a="1").digest


def test_scratch_folders_do_not_outlive_their_block(store):
    with pytest.raises(RuntimeError), store.scratch() as folder:
        fill(folder, a="1")
        raise RuntimeError

    assert not folder.exists()


def test_another_process_reads_what_was_published(tmp_path):
    artifact = publish(Store(str(tmp_path), tmp_path), a="1")

    assert (Store(str(tmp_path), tmp_path).path(artifact.digest) / "a").read_text() == "1"


def test_a_changed_byte_is_refused(tmp_path):
    artifact = publish(Store(str(tmp_path), tmp_path), a="1")
    (Path(artifact.uri) / "a").write_text("2")

    with pytest.raises(DigestMismatch, match="expected"):
        Store(str(tmp_path), tmp_path).path(artifact.digest)


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_publishing_again_mends_what_was_damaged(damage, tmp_path):
    artifact = publish(Store(str(tmp_path), tmp_path), a="right")
    if damage == "changed":
        (Path(artifact.uri) / "a").write_text("wrong")
    else:
        shutil.rmtree(artifact.uri)
    store = Store(str(tmp_path), tmp_path)

    publish(store, a="right")

    assert (store.path(artifact.digest) / "a").read_text() == "right"
    assert Store(str(tmp_path), tmp_path).path(artifact.digest).is_dir()


def test_an_artifact_without_manifest_does_not_exist(tmp_path):
    store = Store(str(tmp_path), tmp_path)
    artifact = publish(store, a="1")
    Path(f"{artifact.uri}.json").unlink()
    (Path(artifact.uri) / "a").write_text("half-written by a killed process")

    again = publish(Store(str(tmp_path), tmp_path), a="1")

    assert (Store(str(tmp_path), tmp_path).path(again.digest) / "a").read_text() == "1"


def test_what_another_has_published_meanwhile_is_not_taken_from_under_its_readers(tmp_path, monkeypatch):
    """Both have looked and found nothing; files of the other are there whole, its manifest not yet."""
    first, second = (Store(str(tmp_path), tmp_path) for _ in range(2))
    artifact = publish(first, a="1")
    Path(f"{artifact.uri}.json").unlink()
    inode = (Path(artifact.uri) / "a").stat().st_ino

    publish(second, a="1")

    assert (Path(artifact.uri) / "a").stat().st_ino == inode
    looks = iter([False, True])
    monkeypatch.setattr(Store, "_is_whole", lambda *_: False)
    monkeypatch.setattr(Store, "_is_in_place", lambda *_: next(looks))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    publish(second, a="1")  # the other one came between the look and the rename
    assert (Path(artifact.uri) / "a").stat().st_ino == inode


def test_links_are_not_content(tmp_path):
    store = Store(str(tmp_path), tmp_path)

    with store.scratch() as folder:
        fill(folder, a="1")
        (folder / "link").symlink_to(folder / "a")
        with pytest.raises(SlipwayError, match="link"):
            store.publish(folder, "test", {})


def test_an_action_is_remembered_until_its_files_change(tmp_path):
    store = Store(str(tmp_path), tmp_path)
    artifact = publish(store, a="1")
    remember(store, action(), artifact)

    assert lookup(Store(str(tmp_path), tmp_path), action()) == artifact
    assert lookup(store, action(seed=1)) is None
    (Path(artifact.uri) / "a").write_text("2")
    assert lookup(Store(str(tmp_path), tmp_path), action()) is None


@pytest.mark.parametrize("content", ["", '{"files": ', "[]"])
def test_an_artifact_whose_manifest_is_damaged_is_published_anew(tmp_path, content):
    artifact = publish(Store(str(tmp_path), tmp_path), a="1")
    manifest = Path(f"{artifact.uri}.json")
    before = manifest.read_text()
    manifest.write_text(content)

    assert publish(Store(str(tmp_path), tmp_path), a="1").digest == artifact.digest
    assert manifest.read_text() == before
    manifest.write_text(content)
    assert Store(str(tmp_path), tmp_path).retain(set()) == 1
    assert not manifest.exists()


def test_an_artifact_with_a_link_in_it_is_published_anew(tmp_path):
    artifact = publish(Store(str(tmp_path), tmp_path), a="1")
    file = Path(artifact.uri) / "a"
    file.unlink()
    file.symlink_to("/etc/hostname")

    publish(Store(str(tmp_path), tmp_path), a="1")
    assert not file.is_symlink() and file.read_text() == "1"


@pytest.mark.parametrize("content", ["", '{"digest": ', "[]"])
def test_a_damaged_entry_of_the_index_is_as_good_as_none(tmp_path, content):
    store = Store(str(tmp_path), tmp_path)
    artifact = publish(store, a="1")
    remember(store, action(), artifact)
    (entry,) = (tmp_path / "actions").iterdir()
    entry.write_text(content)

    assert lookup(store, action()) is None
    store.retain({artifact.digest})
    assert not entry.exists()


@pytest.mark.parametrize("field", sorted(Action.model_fields))
def test_every_field_of_an_action_is_in_its_key(field):
    changed = {"inputs": {"a": "b"}, "settings": {"a": 1}, "libraries": {"a": "1"}, "seed": 1}.get(field, "changed")

    assert action(**{field: changed}).key() != action().key()


def test_source_and_library_versions_are_part_of_what_a_key_is_made_of():
    assert source_digest("store") != source_digest("store", "journal")
    assert versions("numpy")["numpy"]


def test_retain_removes_everything_else(tmp_path):
    store = Store(str(tmp_path), tmp_path)
    kept, gone = publish(store, a="kept"), publish(store, a="gone")
    remember(store, action(), gone)

    freed = store.retain({kept.digest})

    assert freed == 4
    assert not Path(gone.uri).exists()
    assert lookup(store, action()) is None
    assert store.path(kept.digest).is_dir()


def test_nothing_is_removed_from_a_folder_that_others_use_too(tmp_path):
    store = Store(str(tmp_path / "share"), tmp_path / "cache", shared=True)
    artifact = publish(store, a="1")
    remember(store, action(), artifact)
    store.write("orders/x.json", "{}")

    assert store.retain(set()) == 0
    assert lookup(Store(store.url, tmp_path / "cache"), action()) == artifact
    assert store.read("orders/x.json") == b"{}"


def test_scratch_of_a_killed_process_is_swept(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from tasks.store.store import Store\n"
        "s = Store(sys.argv[1], Path(sys.argv[1]))\n"
        "with s.scratch() as f: (f / 'big').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    store = Store(str(tmp_path), tmp_path)
    assert list((tmp_path / "scratch").iterdir())

    store.sweep_scratch()

    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("host", ["other-host", f"{platform.node()}-2", f"my-{platform.node()}"])
def test_scratch_of_another_machine_is_left_alone(host, tmp_path):
    """Its process is alive there, and unknown here."""
    other = tmp_path / "scratch" / f"999999999-{host}-x1"
    other.mkdir(parents=True)

    Store(str(tmp_path), tmp_path).sweep_scratch()

    assert other.is_dir()


def test_a_full_disk_is_said_and_publishes_nothing(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; from tasks.store.store import Store\n"
        "from tasks.foundations.errors import SlipwayError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "s = Store(sys.argv[1], Path(sys.argv[1]))\n"
        "with s.scratch() as f:\n"
        "    (f / 'a').write_text('1')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "    try: s.publish(f, 'test', {})\n"
        "    except SlipwayError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)

    assert "No space left" in ran.stdout
    assert "clean" in ran.stdout
    assert not list(tmp_path.glob("objects/*/*.json"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


@given(st.dictionaries(st.text("abc/", min_size=1), st.text("0123456789abcdef", min_size=1), min_size=1))
def test_a_folder_digest_depends_on_names_and_content_but_not_on_order(entries):
    name, value = next(iter(entries.items()))

    assert digest_entries(entries) == digest_entries(dict(reversed(entries.items())))
    assert digest_entries(entries) != digest_entries({**entries, name: value + "0"})
    assert digest_entries(entries) != digest_entries({**entries, name + "x": value})


def test_a_digest_does_not_depend_on_where_the_folder_lies(tmp_path):
    one, two = fill(tmp_path / "one", a="1"), fill(tmp_path / "two", a="1")

    assert digest_folder(one) == digest_folder(two)


def test_the_manifest_lists_every_file_with_its_size(tmp_path):
    artifact = publish(Store(str(tmp_path), tmp_path), a="123")

    manifest = json.loads(Path(f"{artifact.uri}.json").read_text())

    assert manifest["files"]["a"]["size"] == 3


def test_part_of_an_artifact_is_fetched_and_verified_alone(store):
    with store.scratch() as folder:
        for name in ("train/x", "test/x", "test/y"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
        digest = store.publish(folder, "test", {}).digest
    elsewhere = Store(store.url, store.cache.parent / "elsewhere")

    part = elsewhere.part(digest, lambda name: name.startswith("test/"))

    assert (part / "test/x").read_text() == "test/x" and (part / "test/y").exists()
    assert (part / "train/x").exists() == (store.local is not None)
    assert elsewhere.part(digest, lambda name: name.startswith("test/")) == part


def test_a_damaged_part_is_refused(tmp_path):
    store = Store(f"memory://{tmp_path.name}-part", tmp_path / "cache")
    digest = publish(store, a="1", b="2").digest
    elsewhere = Store(store.url, tmp_path / "elsewhere")
    (elsewhere.part(digest, lambda name: name == "a") / "a").write_text("other")

    with pytest.raises(DigestMismatch, match="is not what the store's manifest says"):
        elsewhere.part(digest, lambda name: name == "a")
    with pytest.raises(DigestMismatch, match="is not in the store"):
        elsewhere.part("0" * 64, lambda name: True)


def test_what_is_published_to_a_remote_store_need_not_be_fetched_again(tmp_path):
    store = Store(f"memory://{tmp_path.name}-kept", tmp_path / "cache")
    artifact = publish(store, a="1")

    store._filesystem().rm(store.url, recursive=True)

    assert (store.path(artifact.digest) / "a").read_text() == "1"


def test_a_remote_store_that_does_not_answer_is_said_in_a_sentence(tmp_path):
    store = Store("http://127.0.0.1:9/store", tmp_path / "cache", patience_s=0.1)

    for act in (
        lambda: store.read("actions/x.json"),
        lambda: store.write("x.json", "{}"),
        lambda: publish(store, a="1"),
    ):
        with pytest.raises(SlipwayError, match="http://127.0.0.1:9/store does not answer as it should"):
            act()


def test_small_files_are_read_as_they_were_written_last(store):
    assert store.read("actions/x.json") is None
    for content in ("{}", '{"digest": "1"}'):
        store.write("actions/x.json", content)

        assert store.read("actions/x.json") == content.encode()
        assert Store(store.url, store.cache).read("actions/x.json") == content.encode()


def test_a_bucket_that_is_not_there_is_said_in_a_sentence(s3, tmp_path):
    store = Store("s3://no-such-bucket/slipway", tmp_path / "cache", patience_s=0.1)

    assert store.read("actions/x.json") is None
    for act in (lambda: store.write("x.json", "{}"), lambda: publish(store, a="1")):
        with pytest.raises(SlipwayError, match=r"s3://no-such-bucket/slipway does not .* bucket does not exist"):
            act()


@pytest.mark.parametrize("status", [401, 403])
def test_a_store_that_is_closed_to_this_user_is_not_asked_again(status, tmp_path):
    asked = []

    class Closed(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(status)

        def log_message(self, *_): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = Store(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "cache")
        with pytest.raises(SlipwayError, match=f"{status}.* its credentials"):
            store.read("actions/x.json")
        server.shutdown()
    assert len(asked) == 1


def test_retain_removes_what_machines_have_exchanged(tmp_path):
    store = Store(str(tmp_path), tmp_path)
    kept = publish(store, a="1")
    store.write("orders/x.json", "{}")

    store.retain({kept.digest})

    assert not (tmp_path / "orders" / "x.json").exists() and store.path(kept.digest)
