"""The one quality figure that tables, plots and the Pareto front show."""

from collections.abc import Sequence
from typing import NamedTuple

from tasks.evaluation.choice import Choose
from tasks.evaluation.gates import Gate, is_function
from tasks.evaluation.task import AnyTask
from tasks.foundations.errors import InputError

# Every label counts the same; exact_match falls to nothing with many labels, and hamming_accuracy flatters rare ones.
BUILT_IN = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "rmse"}
NO_METRIC = (
    "task custom needs a metric of your own: write a function f(labels, outputs) -> float beside the config and name "
    "it as file.py:function in a gate or in choose."
)


class Primary(NamedTuple):
    """A quality metric and its direction."""

    name: str
    higher_is_better: bool


def primary(task: AnyTask, gates: Sequence[Gate], objective: Choose) -> Primary:
    """`accuracy`, `macro_f1` or `rmse`; for a custom task the first metric of the user's own in gates, then `choose`.

    Raises:
        InputError: a custom task without such a metric.
    """
    if task.kind in BUILT_IN:
        return Primary(BUILT_IN[task.kind], task.kind != "regression")
    for gate in gates:
        if is_function(gate.metric):
            return Primary(gate.metric, gate.is_better_higher)
    if is_function(objective.metric):
        return Primary(objective.metric, objective.maximizes)
    raise InputError(NO_METRIC)
