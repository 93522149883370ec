"""One realistic release (four candidates on two targets), and the hard cases made from it."""

import math
import random

import pytest

from tasks.evaluation.verdict import Verdict
from tasks.reports.costs import recommend
from tasks.reports.summary import CandidateRow, LimitLine, Quality, ReleaseSummary, Stage, TargetSummary

CHAINS = {"float32": (), "int8": ("int8_static",), "int8_dynamic": ("int8_dynamic",), "float16": ("float16",)}
P50 = {"float32": 0.0219, "int8": 0.0158, "int8_dynamic": 0.0313, "float16": 0.0228}
ACCURACY = {"float32": 0.9833, "int8": 0.9822, "int8_dynamic": 0.9833, "float16": 0.9833}
SIZES = {"float32": 594_600, "int8": 164_110, "int8_dynamic": 158_164, "float16": 300_273}
GZIP = {"float32": 546_800, "int8": 150_370, "int8_dynamic": 135_606, "float16": 270_666}
WRITERS = {"writer=clerk": 388, "writer=student": 311, "writer=other": 200}


def quantiles(p50: float, spread: float = 0.05) -> tuple[tuple[float, float], ...]:
    points = []
    for i in range(100):
        q = (i + 0.5) / 100
        tail = 0.6 * max(0.0, q - 0.93) / 0.07
        points.append((q, p50 * math.exp(spread * math.tan((q - 0.5) * 2.2) / 2 + tail)))
    return tuple(points)


def verdicts(name: str, target: str, speedup: float, drop: float, p99: float) -> tuple[Verdict, ...]:
    slow = target == "cpu" and speedup < 0.99
    found = [
        Verdict(
            gate="accuracy max_drop 0.01 against reference",
            metric="accuracy",
            against="reference",
            status="pass",
            measured=drop,
            allowed=0.01,
            interval=(drop - 0.004, drop + 0.0052),
            n=899,
            confidence=0.95,
            reason=f"accuracy drops by {drop:.4f}, at most {drop + 0.0052:.4f} with 95 % confidence.",
        ),
        Verdict(
            gate="accuracy max_drop 0.03 against champion",
            metric="accuracy",
            against="champion",
            status="not_applicable",
            allowed=0.03,
            reason="There is no champion yet.",
        ),
        Verdict(
            gate="p50_ms min_speedup 1.0 against float32",
            metric="p50_ms",
            against="float32",
            status="fail" if slow else "pass",
            measured=speedup,
            allowed=1.0,
            interval=(speedup - 0.02, speedup + 0.02),
            n=7,
            confidence=0.95,
            reason=f"runs at {speedup:.2f} of float32's speed, allowed is at least 1.0.",
        ),
    ]
    if target == "cpu":
        found.append(
            Verdict(
                gate="p99_ms max 0.5",
                metric="p99_ms",
                status="pass",
                measured=p99,
                allowed=0.5,
                n=7000,
                confidence=0.99,
                reason=f"p99 is {p99:.3f} ms.",
            )
        )
    return tuple(found)


def cpu_row(name: str) -> CandidateRow:
    p50, accuracy = P50[name], ACCURACY[name]
    speedup = P50["float32"] / p50
    failed = speedup < 0.99
    return CandidateRow(
        name=name,
        target="cpu",
        chain=CHAINS[name],
        outcome="fail" if failed else "pass",
        reason="p50_ms: runs at less than float32's speed." if failed else "",
        winner=name == "int8",
        pareto=name in ("float32", "int8"),
        digest=name.encode().hex().ljust(64, "0"),
        primary_value=accuracy,
        metrics={"accuracy": accuracy, "macro_f1": accuracy - 0.0008, "log_loss": 0.0712, "top_3_accuracy": 0.9978},
        accuracy=accuracy,
        accuracy_drop=0.9833 - accuracy,
        primary_drop=0.9833 - accuracy,
        agreement=1.0 if name == "float32" else 0.9978,
        p50_ms=p50,
        p50_interval=(p50 * 0.985, p50 * 1.02),
        p90_ms=p50 * 1.09,
        p90_interval=(p50 * 1.06, p50 * 1.12),
        p99_ms=p50 * 1.9,
        p99_interval=(p50 * 1.7, p50 * 2.1),
        speedup_p50=speedup,
        speedup_interval=(speedup - 0.02, speedup + 0.02),
        throughput_per_s=1000 / p50,
        load_ms=3.1,
        first_call_ms=0.21,
        peak_memory_bytes=61_200_000,
        size_bytes=SIZES[name],
        gzip_bytes=GZIP[name],
        latency_quantiles=quantiles(p50),
        rounds=7,
        calls=7000,
        slices={
            group: {"accuracy": accuracy + shift, "n": n}
            for (group, n), shift in zip(
                WRITERS.items(), (0.004, -0.006, -0.011 if name == "int8" else 0.0), strict=True
            )
        },
        classes={
            str(i): {
                "accuracy": min(1.0, accuracy + 0.01 - (0.045 if i == 8 and name == "int8" else 0.002 * i)),
                "n": 90,
            }
            for i in range(10)
        },
        verdicts=verdicts(name, "cpu", speedup, 0.9833 - accuracy, p50 * 1.9),
        proof={
            "opset": 17,
            "integer_kernels": {"QLinearConv": 3, "QGemm": 2} if name == "int8" else {},
            "max_abs": 3.8e-6,
        },
        seconds=2.4,
    )


def tfs_rows() -> list[CandidateRow]:
    base = cpu_row("float32").model_dump()
    p50 = 0.214
    base |= {
        "target": "tfs",
        "winner": True,
        "p50_ms": p50,
        "p50_interval": (0.209, 0.219),
        "p90_ms": 0.241,
        "p99_ms": 0.412,
        "p99_interval": (0.39, 0.45),
        "latency_quantiles": quantiles(p50, 0.08),
        "size_bytes": 731_000,
        "gzip_bytes": 562_000,
        "verdicts": verdicts("float32", "tfs", 1.0, 0.0, 0.412),
        "speedup_p50": 1.0,
        "throughput_per_s": 4600.0,
    }
    others = [
        CandidateRow(
            name=name,
            target="tfs",
            chain=CHAINS[name],
            outcome="not_applicable",
            reason=f"{CHAINS[name][0]} works on ONNX files, so this chain has no SavedModel form for TensorFlow.",
        )
        for name in ("int8", "int8_dynamic", "float16")
    ]
    return [CandidateRow.model_validate(base), *others]


def release() -> ReleaseSummary:
    stamp = {
        "cpu": "Intel(R) Xeon(R) @ 2.20GHz",
        "flags": ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "amx_int8", "amx_tile"],
        "threads": 1,
    }
    return ReleaseSummary(
        release="digits-20260901-141502-7f3a",
        model="digits",
        started="2026-09-01T14:15:02+00:00",
        finished="2026-09-01T14:16:14+00:00",
        exit_code=0,
        decision="promoted version 3 (was 2): int8 on cpu, float32 on tfs",
        config={
            "name": "digits",
            "seed": 0,
            "task": {"kind": "classification", "output": "logits"},
            "candidates": {"int8": [{"kind": "int8_static", "method": "minmax"}]},
            "targets": {"cpu": {"runtime": "onnxruntime", "threads": 1, "batch_size": 1}},
        },
        config_path="configs/digits.yaml",
        version=3,
        previous=2,
        promoted=True,
        champion="version 2 (int8 on cpu, float32 on tfs)",
        winners={"cpu": "int8", "tfs": "float32"},
        reference=Quality(
            metrics={"accuracy": 0.9833},
            slices={
                group: {"accuracy": 0.9833 + s, "n": n}
                for (group, n), s in zip(WRITERS.items(), (0.004, -0.006, 0), strict=True)
            },
            classes={str(i): {"accuracy": min(1.0, 0.9933 - 0.002 * i), "n": 90} for i in range(10)},
        ),
        rows=(*(cpu_row(name) for name in CHAINS), *tfs_rows()),
        stages=(
            Stage(name="load", seconds=0.3),
            Stage(name="train", seconds=6.8, reused=True),
            Stage(name="save", seconds=0.45, reused=True),
            *(Stage(name="compress", candidate=name, seconds=1.2) for name in ("int8", "int8_dynamic", "float16")),
            Stage(name="convert", candidate="float32", seconds=0.5),
            Stage(name="measure", seconds=21.4),
            Stage(name="promote", seconds=0.2),
        ),
        targets={
            "cpu": TargetSummary(
                settings={"runtime": "onnxruntime", "threads": 1, "batch_size": 1},
                environment=stamp | {"onnxruntime": "1.32.0"},
                control_ratio=1.006,
                control_interval=(0.991, 1.018),
                control_ok=True,
                rounds=7,
                noise=0.012,
                limits=(
                    LimitLine(metric="accuracy", value=0.9733, label="accuracy max_drop 0.01"),
                    LimitLine(metric="p50_ms", value=0.0219, label="p50_ms min_speedup 1.0"),
                    LimitLine(metric="p99_ms", value=0.5, label="p99_ms max 0.5"),
                ),
            ),
            "tfs": TargetSummary(
                settings={"runtime": "tensorflow", "threads": 1, "batch_size": 1},
                environment=stamp | {"tensorflow": "2.21.0"},
                control_ratio=0.998,
                control_ok=True,
                rounds=5,
                limits=(LimitLine(metric="accuracy", value=0.9733, label="accuracy max_drop 0.01"),),
            ),
        },
        environment={"python": "3.11.9", "slipway": "0.1.0", "tensorflow": "2.21.0", "onnxruntime": "1.32.0"},
        notes=("The calibration split was not given: 512 rows of train were used.",),
        mlflow_link="http://127.0.0.1:5000/#/experiments/1/runs/abc",
        mlflow_ui="mlflow ui --backend-store-uri sqlite:////srv/mlflow.db",
        report_path="releases/digits-20260901-141502-7f3a/report.html",
    )


def crowd() -> ReleaseSummary:
    """Twenty-four candidates on one target, one of them ruined, many close together."""
    dice = random.Random(4)
    rows = []
    for i in range(24):
        name = "float32" if i == 0 else dice.choice(["pruned", "student", "clustered", "qat"]) + f"_{i}_int8"
        p50 = 0.021 if i == 0 else 0.021 * math.exp(dice.uniform(-0.9, 0.35))
        accuracy = 0.983 if i == 0 else 0.11 if i == 7 else 0.983 - abs(dice.gauss(0, 0.006))
        row = cpu_row("int8").model_dump() | {
            "name": name,
            "chain": ("pruning", "int8_static") if i else (),
            "outcome": "broken" if i == 9 else "inconclusive" if i == 11 else "pass" if accuracy > 0.975 else "fail",
            "winner": i == 3,
            "pareto": i in (0, 3),
            "p50_ms": p50,
            "p50_interval": (p50 * 0.97, p50 * 1.03),
            "p99_ms": p50 * 1.7,
            "primary_value": accuracy,
            "primary_drop": 0.983 - accuracy,
            "size_bytes": int(594_600 * dice.uniform(0.05, 1)),
            "latency_quantiles": quantiles(p50, dice.uniform(0.03, 0.2)),
        }
        if i == 9:
            row |= {"p50_ms": None, "primary_value": None, "verdicts": (), "speedup_p50": None}
            row |= {
                "p99_ms": None,
                "size_bytes": None,
                "gzip_bytes": None,
                "reason": "the worker was killed (signal 9)",
            }
        rows.append(CandidateRow.model_validate(row))
    base = release()
    return base.model_copy(
        update={"rows": tuple(rows), "targets": {"cpu": base.targets["cpu"]}, "winners": {"cpu": rows[3].name}}
    )


def refused() -> ReleaseSummary:
    """A first release in which everything broke on one target and nothing passed on the other."""
    base = release()
    rows = []
    for row in base.rows:
        broken = row.target == "tfs"
        change = {
            "winner": False,
            "pareto": False,
            "outcome": "broken" if broken else "fail",
            "reason": "killed (signal 9)",
        }
        if broken:
            change |= {"p50_ms": None, "p99_ms": None, "latency_quantiles": (), "primary_value": None, "verdicts": ()}
            change |= {"slices": {}, "classes": {}}
        rows.append(row.model_copy(update=change))
    update = {
        "rows": tuple(rows),
        "winners": {},
        "promoted": False,
        "version": None,
        "previous": None,
        "champion": None,
    }
    update |= {
        "exit_code": 3,
        "decision": "refused: no candidate passes every gate on cpu and tfs",
        "mlflow_link": None,
    }
    return base.model_copy(update=update)


def regression() -> ReleaseSummary:
    """A regression: no accuracy, lower is better, one candidate, no reference figures, no targets recorded."""
    row = CandidateRow(
        name="float32",
        target="edge",
        outcome="pass",
        winner=True,
        pareto=True,
        primary_value=0.412,
        primary_drop=0.0,
        metrics={"rmse": 0.412, "mae": 0.301, "r2": 0.91},
        p50_ms=1.25,
        p99_ms=2.4,
        size_bytes=12_345,
        slices={"site=north": {"rmse": 0.39, "n": 40}},
    )
    return ReleaseSummary(
        release="r1",
        model="flow_rate",
        started="2026-09-01T14:15:02",
        finished="not a time",
        exit_code=0,
        decision="version 1 waits as challenger",
        version=1,
        winners={"edge": "float32"},
        primary_metric="rmse",
        higher_is_better=False,
        rows=(row,),
    )


def custom() -> ReleaseSummary:
    """A task that only a metric of the user's own can judge, a long name that looks like a share, lower is better."""
    metric = "tagger.py:share_of_steps_with_wrong_tag_accuracy"
    figures = {metric: 41.5, "max_abs_diff": 0.5, "max_rel_diff": 0.01, "max_abs_diff of tags": 0.5}
    base = regression()
    row = base.rows[0].model_copy(
        update={"primary_value": 41.5, "metrics": figures, "slices": {"site=north": {metric: 40.0, "n": 40}}}
    )
    return base.model_copy(update={"primary_metric": metric, "rows": (row,)})


def multilabel() -> ReleaseSummary:
    """Labels in place of classes: f1 and recall of each."""
    base = regression()
    row = base.rows[0].model_copy(
        update={
            "primary_value": 0.81,
            "metrics": {"macro_f1": 0.81, "exact_match": 0.4, "agreement": 0.99},
            "slices": {},
            "classes": {"0": {"f1": 0.8, "recall": 0.7, "n": 40}, "1": {"f1": 0.0, "n": 0}},
        }
    )
    return base.model_copy(update={"primary_metric": "macro_f1", "higher_is_better": True, "rows": (row,)})


def priced() -> ReleaseSummary:
    """Both targets have a price: int8 on cpu and float32 on tfs passed, at 0.16 and 0.6 a million."""
    base = release()
    costs = {"cpu": {"float32": 0.22, "int8": 0.16, "int8_dynamic": 0.01, "float16": 0.24}, "tfs": {"float32": 0.6}}
    rows = tuple(
        row.model_copy(update={"cost_per_million": cost, "cost_interval": (cost * 0.98, cost * 1.03)})
        if (cost := costs[row.target].get(row.name))
        else row
        for row in base.rows
    )
    targets = {
        name: base.targets[name].model_copy(update={"settings": {**base.targets[name].settings, "cost_per_hour": 0.2}})
        for name in costs
    }
    return base.model_copy(update={"rows": rows, "targets": targets, "recommendation": recommend(rows)})


def empty() -> ReleaseSummary:
    """A release that failed before any candidate existed."""
    return ReleaseSummary(
        release="r0",
        model="digits",
        started="",
        finished="",
        exit_code=1,
        decision="failed: the worker died while training",
    )


CASES = {
    "release": release,
    "crowd": crowd,
    "refused": refused,
    "regression": regression,
    "empty": empty,
    "custom": custom,
    "multilabel": multilabel,
    "priced": priced,
}


@pytest.fixture
def summary() -> ReleaseSummary:
    return release()


@pytest.fixture
def with_costs() -> ReleaseSummary:
    return priced()


@pytest.fixture
def many() -> ReleaseSummary:
    return crowd()


@pytest.fixture
def nothing_passed() -> ReleaseSummary:
    return refused()


@pytest.fixture(params=list(CASES))
def any_case(request: pytest.FixtureRequest) -> ReleaseSummary:
    return CASES[request.param]()


@pytest.fixture
def regression_pair() -> ReleaseSummary:
    """A regression with a second, worse candidate: a higher rmse."""
    base = regression()
    worse = base.rows[0].model_copy(update={"name": "worse", "primary_value": 0.8, "winner": False, "pareto": False})
    return base.model_copy(update={"rows": (*base.rows, worse)})
