"""The job that turns a target's stored predictions and samples into verdicts, figures and a choice.

It runs in a worker because the user's own metrics do; nothing in it depends on the machine, so a release can be judged
again, or elsewhere, from its artifacts.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.evaluation.assessment import Assessed, Assessment, AssessRequest, Entry, Quality
from tasks.evaluation.choice import EVIDENCE, Judged, Outcome, choose, pareto
from tasks.evaluation.evaluate import (
    UserMetric,
    agreement,
    differences,
    evaluate,
    evaluate_classes,
    evaluate_slices,
)
from tasks.evaluation.evidence import Evidence, Setting
from tasks.evaluation.gates import COST, FAMILIES, is_function, metric_functions
from tasks.evaluation.judge import judge
from tasks.evaluation.latency import RESOLUTION, Samples, control_is_off, speedup, value
from tasks.evaluation.primary import Primary, primary
from tasks.evaluation.rows import Arrays, named
from tasks.evaluation.slices import slice_rows
from tasks.evaluation.task import Custom
from tasks.evaluation.verdict import Verdict
from tasks.foundations import entrypoints
from tasks.foundations.errors import SlipwayError, StepFailed
from tasks.runtimes.samples import Measurement, read_measurement, read_samples

CONTROL = "float32 (control)"
CHAMPION = "champion"
TIMES = ("p50_ms", "p90_ms", "p99_ms", "throughput_per_s", "load_ms", "first_call_ms", "peak_memory_bytes")
QUANTILES = tuple(round(float(q), 3) for q in np.linspace(0.005, 0.995, 100))

Array = np.ndarray[Any, Any]


def assess(request: AssessRequest) -> Assessment:
    """Judge every candidate of one target and choose (a job: runs in a worker).

    Raises:
        SlipwayError: the reference itself cannot be judged: labels, outputs and task do not fit.
    """
    functions = _functions(request)
    samples = read(request)
    leading = primary(request.task, request.gates, request.objective)
    entries = {entry.name: entry for entry in request.candidates}
    setting = Setting(
        task=request.task,
        target=request.target,
        labels=request.split.labels(),
        reference=_read("reference", "reference", request.reference, request),
        float32=_evidence(entries["float32"], request, samples),
        champion=_evidence(request.champion, request, samples) if request.champion else None,
        samples=samples,
        slices=slice_rows(request.split.slice_columns()),
        classes=request.split.classes,
        functions=functions,
        seed=request.seed,
    )
    quality = _reference_quality(setting, leading)
    rows = [_assessed(entry, request, setting, quality) for entry in request.candidates]
    judged = [Judged(row.name, row.verdicts, _figures(row, entries[row.name]), row.drop or 0.0) for row in rows]
    choice = choose(request.objective, judged)
    front = {point.name for point in pareto(judged, *leading) if point.on_front}
    control = _control(samples)
    return Assessment(
        winner=choice.winner,
        exit_code=choice.exit_code,
        reason=choice.reason,
        candidates=tuple(row.model_copy(update={"pareto": row.name in front}) for row in rows),
        reference=quality,
        control_ratio=control[0],
        control_interval=control[1],
    )


def score(request: AssessRequest) -> Quality:
    """The reference by every metric (a job: runs in a worker).

    Raises:
        InputError: a metric of the user's own raised, or gave no finite number.
        SlipwayError: labels, outputs and task do not fit.
    """
    outputs = _read("reference", "reference", request.reference, request).outputs
    assert outputs is not None  # noqa: S101 - the reference always predicts
    return Quality(metrics=evaluate(request.task, outputs, request.split.labels(), _functions(request)))


def read(request: AssessRequest) -> Samples | None:
    """The samples of the request's measurement; the champion shares those of a candidate with the same file."""
    if request.measurement is None:
        return None
    folder = Path(request.measurement)
    samples = gather(read_measurement(folder), read_samples(folder), _twin(request))
    return replace(samples, cost_per_hour=request.cost_per_hour)


def gather(measurement: Measurement, calls: Mapping[str, list[Array]], twin: str | None) -> Samples:
    """What was measured, in the words of the statistics."""
    per_round = {name: result.rounds for name, result in measurement.contenders.items()}
    if twin is not None and twin in calls:
        calls = {**calls, CHAMPION: calls[twin]}
        per_round = {**per_round, CHAMPION: per_round[twin]}
    return Samples(
        calls_ms=calls,
        load_ms={name: [each.load_ms for each in rounds] for name, rounds in per_round.items()},
        first_call_ms={name: [each.first_call_ms for each in rounds] for name, rounds in per_round.items()},
        peak_memory_bytes={
            name: [float(each.peak_memory_bytes) for each in rounds] for name, rounds in per_round.items()
        },
        batch_size=measurement.batch_size,
        control=CONTROL,
    )


def _twin(request: AssessRequest) -> str | None:
    """The candidate that is the champion's very file, if any."""
    digest = request.champion.digest if request.champion else ""
    return next((entry.name for entry in request.candidates if digest and entry.digest == digest), None)


def _functions(request: AssessRequest) -> dict[str, UserMetric]:
    names = metric_functions(request.gates)
    if is_function(request.objective.metric):
        names = list(dict.fromkeys([*names, request.objective.metric]))
    return {name: entrypoints.load(name, Path(request.folder)) for name in names}


def _read(name: str, digest: str, folder: str | None, request: AssessRequest) -> Evidence:
    """The judged output and the others; a custom task's metrics see all, by name if there are several or labels are."""
    if folder is None:
        return Evidence(name=name, digest=digest)
    files = {file.stem: file for file in sorted(Path(folder).glob("*.npy"))}
    arrays: dict[str, Array] = {
        output: np.load(file, mmap_mode="r", allow_pickle=False) for output, file in files.items()
    }
    if isinstance(request.task, Custom):
        by_name = len(arrays) > 1 or bool(request.split.targets)
        outputs: Arrays = arrays if by_name else next(iter(arrays.values()))
        return Evidence(name=name, digest=digest, outputs=outputs, others=arrays if by_name else {})
    judged = arrays.pop(request.output)
    return Evidence(name=name, digest=digest, outputs=judged, others=arrays)


def _evidence(entry: Entry, request: AssessRequest, samples: Samples | None) -> Evidence:
    failure = entry.failure
    if failure is None and request.measurement is not None and samples is not None:
        failed = read_measurement(Path(request.measurement)).failures.get(entry.name)
        failure = f"its latency could not be measured: {failed}" if failed else None
    read = _read(entry.name, entry.digest or f"none of {entry.name}", entry.predictions, request)
    return replace(read, size_bytes=entry.size_bytes, gzip_bytes=entry.gzip_bytes, failure=failure)


def _reference_quality(setting: Setting, leading: Primary) -> Quality:
    outputs = setting.reference.outputs
    assert outputs is not None  # noqa: S101 - the reference always predicts
    return Quality(
        metrics=evaluate(setting.task, outputs, setting.labels, setting.functions), **_groups(setting, outputs, leading)
    )


def _groups(setting: Setting, outputs: Arrays, leading: Primary) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by slice and by class; in slices, of the user's own metrics the leading one alone: each costs a call."""
    own = {name: function for name, function in setting.functions.items() if name == leading.name}
    return {
        "slices": evaluate_slices(setting.task, outputs, setting.labels, setting.slices, own),
        "classes": evaluate_classes(setting.task, outputs, setting.labels, setting.classes),
    }


def _assessed(entry: Entry, request: AssessRequest, setting: Setting, reference: Quality) -> Assessed:
    """A candidate without evidence fails even where no gate asks for any: it must not win by silence."""
    evidence = _evidence(entry, request, setting.samples)
    quality: dict[str, Any] = {}
    try:
        quality = _quality(evidence, setting, reference, primary(request.task, request.gates, request.objective))
    except SlipwayError as error:
        evidence = replace(evidence, failure=evidence.failure or str(error))
    verdicts = _evidence_verdict(evidence) or [
        *_signature_verdict(request),
        *_speed_proof(entry, setting.samples),
        *judge(request.gates, evidence, setting),
    ]
    outcome = Judged(entry.name, verdicts).outcome
    row = Assessed(name=entry.name, outcome=outcome, reason=_reason(outcome, verdicts), verdicts=tuple(verdicts))
    return row.model_copy(update={**quality, **_times(entry.name, setting.samples)})


def _evidence_verdict(evidence: Evidence) -> list[Verdict]:
    reason = evidence.failure or ("" if evidence.outputs is not None else "it has no predictions")
    return [Verdict(gate="can be judged", metric=EVIDENCE, status="fail", reason=reason)] if reason else []


def _signature_verdict(request: AssessRequest) -> list[Verdict]:
    if not request.foreign_signature:
        return []
    reason = f"{request.foreign_signature} Set allow_signature_change: true if its clients are ready."
    return [
        Verdict(gate="the champion's signature", metric="signature", status="fail", reason=reason, against=CHAMPION)
    ]


def _speed_proof(entry: Entry, samples: Samples | None) -> list[Verdict]:
    """That a technique which only trains has not made the file slower."""
    measured = samples and samples.has("p50_ms", entry.yardstick or "") and not control_is_off(samples)
    if samples is None or entry.yardstick is None or not measured:
        return []
    gain = speedup(samples, "p50_ms", entry.name, entry.yardstick)
    slower = gain.point * RESOLUTION < 1 and gain.high is not None and gain.high < 1
    compared = f"its p50 speed-up over {entry.yardstick}, the same model with int8_static alone, is {gain.point:.4g}"
    reason = (
        f"Proof failed: {compared}. Its file has operators that {entry.yardstick} has not, of fake quantization or of "
        "its tf_keras twin: leave qat out."
        if slower
        else f"{compared}: not slower."
    )
    return [
        Verdict(
            gate=f"not slower than {entry.yardstick}",
            metric="p50_ms",
            status="fail" if slower else "pass",
            reason=reason,
            measured=gain.point,
            allowed=1.0,
            interval=gain.interval,
            n=gain.n,
        )
    ]


def _reason(outcome: Outcome, verdicts: list[Verdict]) -> str:
    if outcome == "pass":
        return "passes every gate"
    return next(verdict.reason for verdict in verdicts if verdict.status == outcome)


def _quality(evidence: Evidence, setting: Setting, reference: Quality, leading: Primary) -> dict[str, Any]:
    if evidence.outputs is None or setting.reference.outputs is None:
        return {}
    metrics = evaluate(setting.task, evidence.outputs, setting.labels, setting.functions)
    compared = agreement(setting.task, evidence.outputs, setting.reference.outputs)
    others = differences(named(evidence.others), named(setting.reference.others))
    return {
        "quality": metrics | compared | others,
        **_groups(setting, evidence.outputs, leading),
        "drop": _drop(leading, reference.metrics, metrics),
    }


def _drop(leading: Primary, reference: Mapping[str, float], own: Mapping[str, float]) -> float | None:
    if leading.name not in own or leading.name not in reference:
        return None
    drop = reference[leading.name] - own[leading.name]
    return drop if leading.higher_is_better else -drop


def _times(name: str, samples: Samples | None) -> dict[str, Any]:
    if samples is None or not samples.has("p50_ms", name):
        return {}
    pooled = np.concatenate([each.ravel() for each in samples.calls_ms[name]])
    known = TIMES if samples.cost_per_hour is None else (*TIMES, COST)
    estimates = {metric: value(samples, metric, name) for metric in known}
    with suppress(StepFailed):  # float32 itself could not be measured, which the verdicts say
        estimates["speedup_p50"] = speedup(samples, "p50_ms", name, "float32")
    return {
        "times": {metric: estimate.point for metric, estimate in estimates.items()},
        "intervals": {metric: estimate.interval for metric, estimate in estimates.items() if estimate.interval},
        "quantiles": tuple(zip(QUANTILES, np.quantile(pooled, QUANTILES).tolist(), strict=True)),
        "rounds": len(samples.calls_ms[name]),
        "calls": int(pooled.size),
    }


def _figures(row: Assessed, entry: Entry) -> dict[str, float]:
    sizes = {"size_bytes": entry.size_bytes, "gzip_bytes": entry.gzip_bytes}
    known = {name: float(size) for name, size in sizes.items() if size is not None}
    return {**row.quality, **{name: row.times[name] for name in row.times if name in FAMILIES}, **known}


def _control(samples: Samples | None) -> tuple[float | None, tuple[float, float] | None]:
    if samples is None or not (samples.has("p50_ms", CONTROL) and samples.has("p50_ms", "float32")):
        return None, None
    ratio = speedup(samples, "p50_ms", CONTROL, "float32")
    return ratio.point, ratio.interval
