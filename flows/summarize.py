"""From what a release found out to the one record that every report is drawn from."""

import json
from datetime import UTC, datetime
from typing import Any

from flows.candidates import Contestant
from flows.desk import Desk
from flows.story import Story
from tasks.evaluation.assessment import Assessed, Assessment
from tasks.evaluation.gates import COST
from tasks.evaluation.latency import RESOLUTION
from tasks.evaluation.primary import primary
from tasks.execution.stages import StageRun
from tasks.reports.costs import recommend
from tasks.reports.limits import limit_lines
from tasks.reports.summary import CandidateRow, Quality, ReleaseSummary, Stage, TargetSummary
from tasks.runtimes.environment import read_environment
from tasks.runtimes.samples import read_measurement


def summarize(desk: Desk, story: Story) -> ReleaseSummary:
    """Everything that is known of the release now; what is not known yet is absent."""
    config = desk.config
    leading = primary(config.task, config.gates, config.choose)
    champion = story.champion.version
    assessments = {place: each.assessment for place, each in story.gated.items()}
    reference = next(iter(assessments.values())).reference if assessments else None
    rows = tuple(_row(desk, story, each, assessments.get(each.target)) for each in story.contestants)
    return ReleaseSummary(
        release=desk.release,
        model=config.name,
        started=desk.started,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        exit_code=story.exit_code,
        decision=story.decision,
        config=config.model_dump(mode="json", exclude_none=True),
        config_path=desk.plan.path,
        version=story.version,
        previous=champion,
        promoted=story.move is not None,
        validation=story.move.validation if story.move else (),
        servers=story.move.servers if story.move else (),
        champion=f"version {champion}" if champion is not None else None,
        winners=dict(story.winners),
        objective=f"{'maximize' if config.choose.maximizes else 'minimize'} {config.choose.metric}",
        primary_metric=leading.name,
        higher_is_better=leading.higher_is_better,
        reference=Quality.model_validate(reference.model_dump()) if reference else Quality(),
        rows=rows,
        recommendation=recommend(rows),
        stages=tuple(_stage(each) for each in desk.executor.stages),
        targets={place: _target(desk, story, place) for place in config.targets},
        environment=read_environment().model_dump(mode="json"),
        notes=tuple(story.notes),
        mlflow_link=story.mlflow.run_link if story.mlflow else None,
        mlflow_ui=story.mlflow.ui_command if story.mlflow else None,
    )


def _row(desk: Desk, story: Story, each: Contestant, assessment: Assessment | None) -> CandidateRow:
    chain = desk.config.chains()[each.name]
    facts: dict[str, Any] = {
        "name": each.name,
        "target": each.target,
        "chain": tuple(technique.kind for technique in chain),
        "outcome": "inconclusive",
        "reason": "not judged",
        "winner": story.winners.get(each.target) == each.name,
        "digest": each.model.digest if each.model else None,
        "size_bytes": each.size.raw_bytes if each.size else None,
        "gzip_bytes": each.size.gzip_bytes if each.size else None,
        "proof": _proof(desk, each),
        "seconds": sum(run.seconds for run in desk.executor.stages if run.candidate == each.name),
    }
    judged = {row.name: row for row in assessment.candidates} if assessment else {}
    if each.name in judged:
        facts |= _judged(judged[each.name], primary(desk.config.task, desk.config.gates, desk.config.choose).name)
    if each.failure:
        facts |= {"outcome": "broken" if each.applies else "not_applicable", "reason": each.failure}
    return CandidateRow(**facts)


def _judged(row: Assessed, primary: str) -> dict[str, Any]:
    intervals = {f"{name.removesuffix('_ms')}_interval": ends for name, ends in row.intervals.items()}
    shown = {"p50_interval", "p90_interval", "p99_interval"}
    return {
        **row.times,
        **{name: ends for name, ends in intervals.items() if name in shown},
        "peak_memory_bytes": int(row.times["peak_memory_bytes"]) if row.times else None,
        "cost_interval": row.intervals.get(COST),
        "speedup_interval": row.intervals.get("speedup_p50"),
        "outcome": row.outcome,
        "reason": row.reason,
        "pareto": row.pareto,
        "primary_value": row.quality.get(primary),
        "primary_drop": row.drop,
        "metrics": dict(row.quality),
        "accuracy": row.quality.get("accuracy"),
        "accuracy_drop": row.drop if primary == "accuracy" else None,
        "agreement": row.quality.get("agreement"),
        "latency_quantiles": row.quantiles,
        "rounds": row.rounds,
        "calls": row.calls,
        "slices": row.slices,
        "classes": row.classes,
        "verdicts": row.verdicts,
    }


def _proof(desk: Desk, each: Contestant) -> dict[str, Any]:
    file = desk.store.path(each.model.digest) / "evidence.json" if each.model else None
    if file is None or not file.is_file():
        return {}
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def _stage(run: StageRun) -> Stage:
    return Stage(
        name=run.name,
        candidate=run.candidate,
        seconds=run.seconds,
        reused=run.reused,
        outcome="failed" if run.failed else "done",
        reason=run.failed or "",
    )


def _target(desk: Desk, story: Story, place: str) -> TargetSummary:
    target = desk.config.targets[place]
    gated = story.gated.get(place)
    settings = target.model_dump(mode="json")
    leading = primary(desk.config.task, desk.config.gates, desk.config.choose)
    if gated is None:
        return TargetSummary(settings=settings)
    ratio = gated.assessment.control_ratio
    measurement = read_measurement(desk.store.path(gated.measurement.digest)) if gated.measurement else None
    return TargetSummary(
        settings=settings,
        environment=measurement.environment.model_dump(mode="json") if measurement else {},
        control_ratio=ratio,
        control_interval=gated.assessment.control_interval,
        control_ok=None if ratio is None else max(ratio, 1 / ratio) <= RESOLUTION,
        rounds=measurement.rounds if measurement else None,
        limits=limit_lines(desk.config.gates, place, leading.name, _partners(gated.assessment)),
        reason=gated.assessment.reason,
    )


def _partners(assessment: Assessment) -> dict[str, dict[str, float | None]]:
    """What gates compare with, by name, for the lines in the plots."""
    figures: dict[str, dict[str, float | None]] = {"reference": dict(assessment.reference.metrics)}
    for row in assessment.candidates:
        if row.name == "float32":
            figures["float32"] = {**row.quality, **row.times}
    return figures
