"""What no single section can see: whether the sections of a config fit together. Nothing is imported or run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.yaml_source import Where
from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError

if TYPE_CHECKING:
    from flows.config import Config, Plan

Problem = tuple[Where, str]


def problems(plan: "Plan") -> list[Problem]:
    """Every contradiction in a config, as (where, sentence)."""
    config = plan.config
    return [
        *_entrypoints(config, plan.folder),
        *_training(config),
        *_chains(config),
        *_gates(config),
        *_choice(config),
        *_serving(config),
    ]


def _entrypoints(config: "Config", folder: Path) -> Iterator[Problem]:
    from tasks.evaluation.gates import is_entrypoint

    named: list[tuple[Where, str]] = []
    for section in ("model", "data"):
        entrypoint = getattr(getattr(config, section), "entrypoint", None)
        if entrypoint:
            named.append(((section, "entrypoint"), entrypoint))
    if config.training and config.training.loss.partition(":")[2]:
        named.append((("training", "loss"), config.training.loss))
    named += [
        (("gates", index, "metric"), gate.metric)
        for index, gate in enumerate(config.gates)
        if is_entrypoint(gate.metric)
    ]
    for where, entrypoint in named:
        try:
            entrypoints.check(entrypoint, folder)
        except InputError as error:
            yield where, str(error)


def _training(config: "Config") -> Iterator[Problem]:
    if config.model.needs_training and config.training is None:
        yield ("model",), f"{config.model.kind} yields an untrained model: add a training section (loss, epochs)."
    if not config.model.needs_training and config.training is not None and not _fine_tunes(config):
        yield ("training",), f"{config.model.kind} yields a trained model and no technique fine-tunes: remove it."


def _fine_tunes(config: "Config") -> bool:
    return any(technique.level == "training" for chain in config.candidates.values() for technique in chain)


def _chains(config: "Config") -> Iterator[Problem]:
    from tasks.techniques.grammar import check_chain

    for name, chain in config.candidates.items():
        if name == "float32":
            yield ("candidates", name), "float32 is the empty chain and always there: remove it or rename it."
            continue
        try:
            check_chain(name, chain)
        except InputError as error:
            yield ("candidates", name), str(error)


def _gates(config: "Config") -> Iterator[Problem]:
    from flows.config import nearest

    for index, gate in enumerate(config.gates):
        problem = gate.problem_with(config.task)
        if problem:
            yield ("gates", index, "metric"), problem
        for name in gate.targets or []:
            if name not in config.targets:
                yield ("gates", index, "targets"), f"{name!r} is not a target.{nearest(name, list(config.targets))}"


def _choice(config: "Config") -> Iterator[Problem]:
    problem = config.choose.problem_with(config.task)
    if problem:
        yield ("choose",), problem


def _serving(config: "Config") -> Iterator[Problem]:
    from flows.config import nearest

    kinds: set[str] = set()
    for index, place in enumerate(config.serving):
        where = ("serving", index)
        target = config.targets.get(place.target)
        if target is None:
            yield (*where, "target"), f"{place.target!r} is not a target.{nearest(place.target, list(config.targets))}"
        elif target.form != place.form:
            yield (
                (*where, "target"),
                f"{place.kind} serves the form {place.form}, but target {place.target} (runtime {target.runtime}) "
                f"yields {target.form}. Name a target of another runtime.",
            )
        if place.kind in kinds:
            yield (*where, "kind"), f"{place.kind} stands twice; a serving folder holds one target's winner."
        kinds.add(place.kind)
