"""The digest of an entrypoint's sources must not depend on what else the process imported."""

from tasks.foundations.entrypoints import closure_digest


def test_only_files_that_the_entrypoint_imports_count(tmp_path):
    (tmp_path / "model.py").write_text("import numpy\nfrom parts import layers\ndef build():\n    import late\n")
    (tmp_path / "parts").mkdir()
    for name in ("parts/__init__.py", "parts/layers.py", "late.py", "other.py"):
        (tmp_path / name).write_text("A = 1\n")
    before = closure_digest("model.py:build", tmp_path)

    (tmp_path / "other.py").write_text("A = 2\n")
    assert closure_digest("model.py:build", tmp_path) == before
    for name in ("parts/layers.py", "late.py", "model.py"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "B = 2\n")
        after = closure_digest("model.py:build", tmp_path)
        assert after != before
        before = after
