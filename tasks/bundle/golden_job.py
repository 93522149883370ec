"""The job that asks a winner its golden requests, on its own target, and leaves them as a folder."""

from pathlib import Path

from tasks.bundle.golden import ROWS, Golden, Origin, choose_rows, make_golden
from tasks.bundle.warmup import write_warmup
from tasks.data.dataset import Split
from tasks.foundations.errors import StepFailed
from tasks.foundations.record import Record
from tasks.models.rows import match, take
from tasks.runtimes.environment import read_environment
from tasks.runtimes.rows import run_rows
from tasks.runtimes.session import as_runtime
from tasks.runtimes.target import Target


class GoldenRequest(Record):
    """One winner on one target.

    Attributes:
        folder: absolute path of the winner's artifact.
        target: a choice of tasks/runtimes.
        split: the test split.
        classification: the top class of every row is guarded too.
        judged: output that it is seen in, None for the first.
        seed: of the choice of rows.
        rows: how many; at least 16, all rows where there are fewer.
        out: absolute path of an empty folder.
        model: name that it is served under; a SavedModel's warm-up file is then written beside its golden requests.
    """

    folder: str
    target: Target
    split: Split
    classification: bool
    judged: str | None = None
    seed: int = 0
    rows: int = ROWS
    out: str
    model: str | None = None


def write_golden(request: GoldenRequest) -> Golden:
    """Choose rows, run the winner as one batch, again, and row by row, and write answers and tolerances.

    Raises:
        StepFailed: the split is empty, the runtime refuses the model, or its answers cannot be guarded.
    """
    if request.split.rows == 0:
        raise StepFailed("The test split has no rows, so there are no golden requests.")
    runtime = as_runtime(request.target)
    session = runtime.open(Path(request.folder))
    index = choose_rows(request.split.rows, request.seed, request.rows)
    matched = match(request.split.input_arrays(), session.signature)
    # In the model's own dtypes: a server feeds them as they lie, and so does the warm-up of TensorFlow Serving.
    inputs = take(matched, session.signature, index)
    origin = Origin(
        seed=request.seed,
        classification=request.classification,
        judged=request.judged,
        cpu_flags=read_environment(()).flags,
        runtime=request.target.model_dump(mode="json"),
    )
    golden = make_golden(Path(request.out), inputs, lambda feeds: run_rows(session, feeds), origin)
    if request.model is not None and runtime.form == "savedmodel":
        write_warmup(Path(request.out), request.model, inputs, batch_size=runtime.batch_size)
    return golden
