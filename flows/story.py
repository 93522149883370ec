"""What a release has found out so far, and what follows from it. Filled stage by stage; the report is drawn from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from flows.candidates import Contestant
from flows.champion import Champion
from flows.config import Config
from flows.desk import Desk
from flows.gate import Gated
from tasks.bundle.manifest import ServingEntry
from tasks.bundle.write import BundleRequest, Winner
from tasks.evaluation.choice import FAILED, REFUSED, Choice, release_exit_code
from tasks.foundations.builds import installed
from tasks.foundations.errors import Refused
from tasks.promotion.control import Move
from tasks.registry.jobs import PublishResult
from tasks.registry.records import DECISION_TAG, ReleaseLog, RunRecord
from tasks.reports import figures
from tasks.reports.summary import ReleaseSummary
from tasks.runtimes.samples import read_measurement
from tasks.store.action import source_digest

# What reads a form outside of Slipway.
LOADED_BY = {"onnx": {"onnx", "onnxruntime"}, "savedmodel": {"tensorflow"}, "litert": {"litert"}}


@dataclass
class Story:
    """One release as it goes.

    Attributes:
        reason: why it was started, for the journal.
        contestants: every candidate on every target.
        champion: what was in production when the gates were judged.
        gated: target -> what was measured and judged.
        winners: target -> candidate.
        version: registered version, None if none was.
        move: its promotion; None while it is not in production.
        decision: one sentence.
        exit_code: of the command.
        notes: warnings for the reader.
        mlflow: the release's run there, None before it is logged.
    """

    reason: str = ""
    contestants: list[Contestant] = field(default_factory=list)
    champion: Champion = field(default_factory=lambda: Champion(None, 0))
    gated: dict[str, Gated] = field(default_factory=dict)
    winners: dict[str, str] = field(default_factory=dict)
    version: int | None = None
    move: Move | None = None
    decision: str = "not finished"
    exit_code: int = 0
    notes: list[str] = field(default_factory=list)
    mlflow: PublishResult | None = None

    def end(self, decision: str, exit_code: int) -> None:
        """Say how it ended."""
        self.decision, self.exit_code = decision, exit_code

    def choose(self) -> None:
        """Take every target's winner; without one the release is refused or inconclusive."""
        choices = {
            place: Choice(each.assessment.winner, each.assessment.exit_code, each.assessment.reason)
            for place, each in self.gated.items()
        }
        self.winners = {place: choice.winner for place, choice in choices.items() if choice.winner}
        code = release_exit_code(list(choices.values()))
        if code:
            word = {FAILED: "failed", REFUSED: "refused"}.get(code, "inconclusive")
            reasons = "; ".join(f"{place}: {choice.reason}" for place, choice in choices.items() if choice.exit_code)
            self.end(f"{word}: {reasons}", code)
        else:
            self.end("passed", 0)

    def is_already_in_production(self, config: Config, champion: Champion) -> bool:
        """Whether every winner is the champion's own file, served in the same places; then there is no new version.

        Args:
            config: of the release.
            champion: as it is now; since the gates were judged another release may have promoted these very files.
        """
        manifest = champion.manifest
        if manifest is None or manifest.winner_digests != self._winner_digests():
            return False
        if list(manifest.serving) != serving_entries(config):
            return False
        self.version = champion.version
        self.end(f"already in production: every winner is that of version {champion.version}", 0)
        return True

    def moved(self, move: Move) -> None:
        """Take note of a promotion."""
        self.move = move
        self.notes += move.warnings
        before = f"was {move.from_version}" if move.from_version is not None else "the first one"
        count = len(move.servers)
        answer = f"; {count} server{'s answer' if count > 1 else ' answers'} with it" if count else ""
        self.end(f"promoted version {move.version} ({before}){answer}", 0)

    def refused(self, refusal: Refused) -> None:
        """Promotion says no: its first line is why; a server's log may follow, which is no part of a decision."""
        self.end(f"refused: {str(refusal).partition(chr(10))[0]}", refusal.exit_code)

    @property
    def registered_version(self) -> int:
        """The version that this release registered.

        Raises:
            RuntimeError: none was; a mistake of ours.
        """
        if self.version is None:
            raise RuntimeError("promoting before registering")
        return self.version

    def winner_of(self, place: str) -> Contestant:
        """The contestant that won a target."""
        return next(each for each in self.contestants if (each.target, each.name) == (place, self.winners[place]))

    def _winner_digests(self) -> dict[str, str]:
        models = {place: self.winner_of(place).model for place in self.winners}
        return {place: model.digest for place, model in models.items() if model}


def still_pass(chosen: Mapping[str, str], gated: Mapping[str, Gated]) -> bool:
    """Whether the winners that a bundle was made of also pass when judged again."""
    outcomes = {(place, row.name): row.outcome for place, each in gated.items() for row in each.assessment.candidates}
    return all(outcomes.get((place, name)) == "pass" for place, name in chosen.items())


def serving_entries(config: Config) -> list[ServingEntry]:
    """The config's serving section as a bundle carries it."""
    return [
        ServingEntry(
            kind=each.kind, target=each.target, settings=each.model_dump(mode="json", exclude={"kind", "target"})
        )
        for each in config.serving
    ]


def bundle_request(desk: Desk, story: Story, out: Path) -> BundleRequest:
    """What the bundle of a release's winners is made from."""
    config = desk.config.model_dump(mode="json")
    evidence = {
        f"measurement-{place}": str(desk.store.path(each.measurement.digest))
        for place, each in story.gated.items()
        if each.measurement
    }
    return BundleRequest(
        model=desk.config.name,
        winners={place: _winner(desk, story, place) for place in story.winners},
        serving=tuple(serving_entries(desk.config)),
        evidence=evidence,
        config=config,
        requirements=_requirements(desk.config, story),
        release=desk.release,
        config_digest=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        sources={"slipway": version("slipway"), "tasks": source_digest("")},
        out=str(out),
    )


def _winner(desk: Desk, story: Story, place: str) -> Winner:
    contestant, target = story.winner_of(place), desk.config.targets[place]
    measurement = story.gated[place].measurement
    if contestant.model is None or contestant.golden is None or measurement is None:
        raise RuntimeError(f"{contestant.name} won {place} without a model, or unmeasured")
    environment = read_measurement(desk.store.path(measurement.digest)).environment
    return Winner(
        candidate=contestant.name,
        form=target.form,
        folder=str(desk.store.path(contestant.model.digest)),
        digest=contestant.model.digest,
        golden=str(desk.store.path(contestant.golden.digest)),
        runtime=target.model_dump(mode="json"),
        cpu_flags=environment.flags,
        environment=environment.libraries,
    )


def _requirements(config: Config, story: Story) -> tuple[str, ...]:
    libraries = {"mlflow", "numpy"}
    for place in story.winners:
        libraries |= LOADED_BY[config.targets[place].form]
    return tuple("==".join(installed(library)) for library in sorted(libraries))


def release_log(desk: Desk, summary: ReleaseSummary, story: Story) -> ReleaseLog:
    """One MLflow run for the release, a child run a candidate; the figures are those of the report."""
    params = {key: str(value) for key, value in _flat(summary.config).items()}
    tags = {DECISION_TAG: story.decision, "slipway.config": desk.plan.path}
    children = tuple(
        RunRecord(
            name=name,
            params={"chain": " -> ".join(technique.kind for technique in chain) or "none"},
            metrics=figures.candidate_metrics(summary, name),
        )
        for name, chain in desk.config.chains().items()
    )
    return ReleaseLog(
        release=desk.release,
        run=RunRecord(name=desk.release, params=params, metrics=figures.metrics_of(summary), tags=tags),
        children=children,
        status="FAILED" if story.exit_code else "FINISHED",
    )


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {} if value is None else {prefix.rstrip("."): value}
    return {key: item for name, inner in pairs for key, item in _flat(inner, f"{prefix}{name}.").items()}
