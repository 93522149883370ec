"""Adds tests/flow_models/menu to the menu of techniques in every process that has this folder in PYTHONPATH."""

from pathlib import Path

import tasks.techniques

tasks.techniques.__path__.append(str(Path(__file__).parents[1] / "menu"))
