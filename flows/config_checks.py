"""What no single section can see: whether the sections of a config fit together. Nothing is imported or run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config_sentences import nearest
from flows.warm_ups import warm_ups
from flows.yaml_source import Where
from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.models.sources.registered import Registered

if TYPE_CHECKING:
    from flows.config import Config, Plan

Problem = tuple[Where, str]
ALIASES = ("champion", "challenger")  # they follow the journal
RESERVED = {
    "float32": "is the empty chain, which is always there",
    "champion": "is the version in production",
    "reference": "is the trained model itself",
}


def problems(plan: "Plan", with_files: bool = True) -> list[Problem]:
    """Every contradiction in a config, and every file or function that is not there, as (where, sentence)."""
    config = plan.config
    files = [*_sources(config, plan.folder), *_entrypoints(config, plan.folder)] if with_files else []
    return [
        *files,
        *_ring(config),
        *_training(config),
        *warm_ups(config),
        *_losses(config),
        *_own_metric(config),
        *_chains(config),
        *_inference_only(config),
        *_gates(config),
        *_choice(config),
        *_costs(config),
        *_serving(config),
    ]


def _sources(config: "Config", folder: Path) -> Iterator[Problem]:
    for key, message in config.model.problems(folder):
        yield ("model", key), message
    for where, message in config.data.problems(folder):
        yield ("data", *where), message


def _ring(config: "Config") -> Iterator[Problem]:
    """A release must not begin with what an earlier one made."""
    source = config.model
    if isinstance(source, Registered) and source.name == config.name and source.alias in ALIASES:
        yield (
            ("model", "alias"),
            f"Slipway itself moves {source.alias} of {config.name}, so the next release would begin with what this one "
            "makes. Give a version, another alias, or this config another name.",
        )


def _entrypoints(config: "Config", folder: Path) -> Iterator[Problem]:
    from tasks.evaluation.gates import is_function, metric_functions

    named: list[tuple[Where, str]] = []
    losses = config.training.losses if config.training else {}
    named += [(("training", "loss", *([name] if name else [])), each) for name, each in losses.items() if ":" in each]
    named += [
        (("candidates", name, index, "student"), technique.student)
        for name, chain in config.candidates.items()
        for index, technique in enumerate(chain)
        if technique.place == "distillation"
    ]
    named += [
        (("gates", index, "metric"), function)
        for index, gate in enumerate(config.gates)
        for function in metric_functions([gate])
    ]
    if is_function(config.choose.metric):
        named.append((("choose",), config.choose.metric))
    for where, entrypoint in named:
        try:
            entrypoints.check(entrypoint, folder)
        except InputError as error:
            yield where, str(error)


def _training(config: "Config") -> Iterator[Problem]:
    if config.model.needs_training and config.training is None:
        yield ("model",), f"{config.model.kind} yields an untrained model: add a training section (loss, epochs)."
    if not config.model.needs_training and config.training is None:
        for name, chain in config.candidates.items():
            trains = next((technique.kind for technique in chain if technique.level == "training"), None)
            if trains:
                yield ("candidates", name), f"{trains} trains, and nothing says how: add a training section."
    if not config.model.needs_training and config.training is not None and not config.fine_tunes:
        yield ("training",), f"{config.model.kind} yields a trained model and no technique fine-tunes: remove it."


def _losses(config: "Config") -> Iterator[Problem]:
    """Whether the losses fit the task, as far as the config alone tells."""
    from tasks.training.losses import CLASS, FITTING, unsaid

    training, task = config.training, config.task
    if training is None:
        return
    if isinstance(training.loss, dict) and task.kind != "custom":
        yield (
            ("training", "loss"),
            f"a loss for each output is for labels of several outputs, and a {task.kind} task has one array of labels. "
            "Name one loss, or write task: {kind: custom}.",
        )
    for output, name in training.losses.items():
        where = ("training", "loss", *([output] if output else []))
        if ":" not in name and name not in FITTING[task.kind]:
            fitting = ", ".join(sorted(FITTING[task.kind]))
            yield where, f"{name} does not fit the task {task.kind}. Fitting ones: {fitting}."
        elif name in CLASS and getattr(task, "output", None) is None:
            yield where, unsaid(name)


def _own_metric(config: "Config") -> Iterator[Problem]:
    from tasks.evaluation.primary import primary

    try:
        primary(config.task, config.gates, config.choose)
    except InputError as error:
        yield ("task",), str(error)


def _inference_only(config: "Config") -> Iterator[Problem]:
    """A model that cannot be trained further can still teach: after a distillation all techniques are possible."""
    if not config.model.inference_only:
        return
    for name, chain in config.candidates.items():
        first = next((technique for technique in chain if technique.level == "training"), None)
        if first is not None and first.place != "distillation":
            yield (
                ("candidates", name),
                f"{first.kind} trains the model further, which {config.model.kind} does not allow: a SavedModel is for "
                "inference only. Give the .keras file (kind: keras_file), or begin the chain with distillation.",
            )


def _chains(config: "Config") -> Iterator[Problem]:
    from tasks.techniques.grammar import check_chain

    for name, chain in config.candidates.items():
        if name in RESERVED:
            yield ("candidates", name), f"{name} {RESERVED[name]}: choose another name."
            continue
        try:
            check_chain(name, chain)
        except InputError as error:
            yield ("candidates", name), str(error).removeprefix(f"candidates.{name}: ")


def _gates(config: "Config") -> Iterator[Problem]:
    from tasks.evaluation.gates import check_gates

    for index, gate in enumerate(config.gates):
        try:
            check_gates([gate], config.task, config.targets)
        except InputError as error:
            yield ("gates", index), str(error).partition(": ")[2]
    directions: dict[str, bool] = {}
    for index, gate in enumerate(config.gates):
        if directions.setdefault(gate.metric, gate.is_better_higher) != gate.is_better_higher:
            yield ("gates", index, "higher_is_better"), f"{gate.metric} is better the other way in a gate before."


def _choice(config: "Config") -> Iterator[Problem]:
    from tasks.evaluation.gates import FAMILIES, NO_CLASSES, is_function, not_of_task
    from tasks.evaluation.metrics import metrics_of

    metric = config.choose.metric
    known = [*metrics_of(config.task), *(name for name, family in FAMILIES.items() if family != "quality")]
    if not is_function(metric) and metric not in known:
        yield ("choose",), not_of_task(metric, config.task, known)
    if metric == "agreement" and config.task.kind in ("regression", "custom"):
        yield ("choose",), NO_CLASSES.format(config.task.kind)


def _costs(config: "Config") -> Iterator[Problem]:
    """A cost can only be judged where an hour has a price."""
    from tasks.evaluation.gates import COST

    free = [name for name, target in config.targets.items() if target.cost_per_hour is None]
    asked: list[tuple[Where, list[str]]] = [
        (("gates", index), [name for name in free if gate.concerns(name)])
        for index, gate in enumerate(config.gates)
        if gate.metric == COST
    ]
    if config.choose.metric == COST:
        asked.append((("choose",), free))
    for where, without in asked:
        if without:
            yield (
                where,
                f"{COST} needs to know what an hour costs. Add cost_per_hour to these targets: {', '.join(without)}.",
            )


def _serving(config: "Config") -> Iterator[Problem]:
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
