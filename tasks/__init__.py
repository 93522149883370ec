"""Verbs (files, one Prefect task each) and nouns (folders, libraries that have never heard of Prefect)."""

import os

# ONNX Runtime reports to its maker from the moment of its import unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
