"""What a release does, written as a script for two cores; no Prefect, no MLflow, no store.

It calls the same jobs, so the difference to `release` is what orchestration, isolation, the registry and promotion
cost. `python -m tests.benchmarks.bare CONFIG OUT` leaves every model, its evidence, a bundle without MLflow's files and
`report.html` in the empty folder OUT.
"""

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "MPLBACKEND": "Agg"}

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flows.candidates import FORM_FOLDER, unfit_form
from flows.config import Config, load
from flows.yardsticks import yardstick
from tasks.bundle.golden_job import GoldenRequest, write_golden
from tasks.bundle.write import BundleRequest, Winner, layout, seal
from tasks.data.dataset import Split, open_dataset
from tasks.data.expected import Expected
from tasks.data.write import ReadRequest, read_data
from tasks.evaluation.assess import CONTROL, assess
from tasks.evaluation.assessment import Assessment, AssessRequest, Entry
from tasks.evaluation.judge import undecided
from tasks.evaluation.latency import Samples
from tasks.evaluation.meaning import meaning_of
from tasks.foundations.locks import hold, machine_lock
from tasks.models import sizes
from tasks.models.build import BuildRequest, build
from tasks.reports import html
from tasks.reports.summary import CandidateRow, ReleaseSummary, TargetSummary
from tasks.runtimes import timing
from tasks.runtimes.environment import read_environment
from tasks.runtimes.predict import PredictRequest, predict
from tasks.runtimes.samples import Contender, MeasureRequest
from tasks.store.digest import digest_folder
from tasks.training.fit import FitSettings
from tasks.training.train import TrainRequest, train
from tests.benchmarks.bare_chains import Chains, other_process, outputs_of


class Script:
    """The script's folders and clock."""

    def __init__(self, config: str, out: Path) -> None:
        self.plan = load(config)
        self.config: Config = self.plan.config
        self.out = out
        self.seconds: dict[str, float] = {}
        self.rounds: dict[str, int] = {}

    @property
    def fit(self) -> FitSettings:
        """How models are trained and fine-tuned."""
        config = self.config
        assert config.training is not None
        meaning = meaning_of(config.task)
        return FitSettings(training=config.training, meaning=meaning, seed=config.seed, folder=str(self.plan.folder))

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        path = self.out / name
        path.mkdir(parents=True)
        return path

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Keep a step's time."""
        begin = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begin, 3)


def main(config: str, out: str) -> None:
    """Do it all and print where the time went, as JSON."""
    script = Script(config, Path(out))
    with other_process() as pool:
        with script.step("import tensorflow"):
            import keras
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(1)  # one core each: the other one fine-tunes
            tf.config.threading.set_inter_op_parallelism_threads(1)
            keras.utils.set_random_seed(script.config.seed)
        splits = make_reference(script)
        made = make_candidates(script, splits, pool)
    judged = {place: gate(script, place, made[place], splits["test"]) for place in made}
    with script.step("bundle"):
        write_bundle(script, made, judged)
    with script.step("report"):
        write_report(script, made, judged)
    print(json.dumps({"seconds": script.seconds, "rounds": script.rounds}))


def make_reference(script: Script) -> dict[str, Split]:
    """Data, trained model, its predictions."""
    config, where = script.config, str(script.plan.folder)
    with script.step("build"):
        meaning = meaning_of(config.task)
        built = build(BuildRequest(source=config.model, folder=where, seed=config.seed, meaning=meaning))
    with script.step("read"):
        expected = Expected.model_validate(built.signature, from_attributes=True)
        data = script.folder("data")
        read_data(
            ReadRequest(
                source=config.data,
                folder=where,
                task=config.task.kind,
                seed=config.seed,
                out=str(data),
                signature=expected,
            )
        )
    splits = open_dataset(data)
    reference = script.folder("reference")
    with script.step("train"):
        train(
            TrainRequest(
                source=config.model,
                fingerprint=built.fingerprint,
                dataset=str(data),
                settings=script.fit,
                out=str(reference),
            )
        )
    with script.step("predict"):
        outputs_of(reference, splits["test"], script.folder("predictions/reference"))
    return splits


def make_candidates(script: Script, splits: dict[str, Split], pool: ProcessPoolExecutor) -> dict[str, dict[str, Path]]:
    """Target -> candidate -> model folder, each with predictions and golden requests."""
    reference, chains = script.out / "reference", script.config.chains()
    with script.step("candidates"):
        onnx = Chains(reference, splits, script.fit, script.folder, pool).onnx(chains)
    forms = {"onnx": onnx, "savedmodel": {"float32": reference}}  # of the config's chains, all others end in ONNX
    made: dict[str, dict[str, Path]] = {}
    for place, target in script.config.targets.items():
        able = [name for name, chain in chains.items() if unfit_form(chain, target) is None]
        made[place] = {name: forms[target.form][name] for name in able}
        for name, model in made[place].items():
            answer(script, place, name, model, splits["test"])
    return made


def answer(script: Script, place: str, name: str, model: Path, split: Split) -> None:
    """Predictions and golden requests of one candidate on one target."""
    target = script.config.targets[place]
    with script.step("predict"):
        out = script.folder(f"predictions/{place}/{name}")
        predict(PredictRequest(folder=str(model), out=str(out), target=target, split=split))
    with script.step("golden"):
        out = script.folder(f"golden/{place}/{name}")
        write_golden(
            GoldenRequest(
                folder=str(model),
                target=target,
                split=split,
                classification=script.config.task.kind == "classification",
                seed=script.config.seed,
                out=str(out),
                model=script.config.name,
            )
        )


def gate(script: Script, place: str, models: dict[str, Path], split: Split) -> Assessment:
    """Measure and judge one target."""
    config = script.config
    digests = {name: digest_folder(folder) for name, folder in models.items()}
    measured = script.folder(f"latency/{place}")
    with script.step(f"wait for {place}"):
        waiting = hold(machine_lock("measure"), "bare script of the benchmarks")
        waiting.__enter__()
    with script.step(f"measure {place}"):

        def more(calls: dict[str, list[np.ndarray[Any, Any]]]) -> bool:
            return undecided(config.gates, Samples(calls_ms=calls, control=CONTROL), place, digests)

        folders = {**models, CONTROL: models["float32"]}
        contenders = tuple(Contender(name=name, folder=str(folder)) for name, folder in folders.items())
        target = config.targets[place]
        request = MeasureRequest(contenders=contenders, target=target, split=split, out=str(measured))
        script.rounds[place] = timing.measure(request, more).rounds
    waiting.__exit__(None, None, None)
    with script.step("judge"):
        return assess(
            AssessRequest(
                task=config.task,
                target=place,
                gates=tuple(config.gates),
                objective=config.choose,
                folder=str(script.plan.folder),
                split=split,
                output=next(path.stem for path in (script.out / "predictions/reference").iterdir()),
                reference=str(script.out / "predictions/reference"),
                candidates=tuple(_entry(script, place, name, models[name], digests[name]) for name in models),
                measurement=str(measured),
                seed=config.seed,
            )
        )


def _entry(script: Script, place: str, name: str, model: Path, digest: str) -> Entry:
    size = sizes.measure(model / FORM_FOLDER[script.config.targets[place].form])
    return Entry(
        name=name,
        digest=digest,
        predictions=str(script.out / "predictions" / place / name),
        size_bytes=size.raw_bytes,
        gzip_bytes=size.gzip_bytes,
        yardstick=yardstick(script.config.chains(), name),
    )


def write_bundle(script: Script, made: dict[str, dict[str, Path]], judged: dict[str, Assessment]) -> None:
    """The winners of all targets with a manifest, without MLflow's own files."""
    config = script.config.model_dump(mode="json")
    request = BundleRequest(
        model=script.config.name,
        winners={
            place: _winner(script, place, each.winner, made[place][each.winner])
            for place, each in judged.items()
            if each.winner
        },
        evidence={f"measurement-{place}": str(script.out / "latency" / place) for place in judged},
        config=config,
        requirements=(),
        release="bare",
        config_digest=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        out=str(script.folder("bundle")),
    )
    layout(request)
    seal(request)


def _winner(script: Script, place: str, name: str, folder: Path) -> Winner:
    environment = read_environment()
    return Winner(
        candidate=name,
        form=script.config.targets[place].form,
        folder=str(folder),
        digest=digest_folder(folder),
        golden=str(script.out / "golden" / place / name),
        runtime=script.config.targets[place].model_dump(mode="json"),
        cpu_flags=environment.flags,
        environment=environment.libraries,
    )


def write_report(script: Script, made: dict[str, dict[str, Path]], judged: dict[str, Assessment]) -> None:
    """`report.html`, from the same template."""
    rows = [
        CandidateRow(
            name=each.name,
            target=place,
            outcome=each.outcome,
            reason=each.reason,
            winner=assessment.winner == each.name,
            pareto=each.pareto,
            primary_value=each.quality.get("accuracy"),
            primary_drop=each.drop,
            metrics=dict(each.quality),
            p50_ms=each.times["p50_ms"],
            p99_ms=each.times["p99_ms"],
            speedup_p50=each.times["speedup_p50"],
            size_bytes=sizes.measure(made[place][each.name]).raw_bytes,
            latency_quantiles=each.quantiles,
            slices=each.slices,
            classes=each.classes,
            verdicts=each.verdicts,
        )
        for place, assessment in judged.items()
        for each in assessment.candidates
    ]
    summary = ReleaseSummary(
        release="bare",
        model=script.config.name,
        started="",
        finished="",
        exit_code=max(each.exit_code for each in judged.values()),
        decision="not promoted: a script has nowhere to promote to",
        config=script.config.model_dump(mode="json", exclude_none=True),
        winners={place: each.winner for place, each in judged.items() if each.winner},
        rows=tuple(rows),
        targets={place: _target(script, place, each) for place, each in judged.items()},
        environment=read_environment().model_dump(mode="json"),
    )
    summary.write(script.out)
    html.write(summary, script.out)


def _target(script: Script, place: str, each: Assessment) -> TargetSummary:
    settings = script.config.targets[place].model_dump(mode="json")
    return TargetSummary(settings=settings, control_ratio=each.control_ratio, reason=each.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
