"""One version in memory, and everything that must hold before it may answer: digest, memory, warm-up, golden answers.

All of it runs in a thread beside a version that serves; ONNX Runtime lets go of the interpreter while it loads.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bundle.golden import FILE, Golden, check_golden, read_golden
from tasks.foundations.errors import DigestMismatch, SlipwayError
from tasks.models.signature import Signature
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.rows import run_rows
from tasks.runtimes.session import Session
from tasks.serving.pointer import Pointer
from tasks.serving.server import memory, tensors
from tasks.store.digest import digest_folder

Array = np.ndarray[Any, Any]

GOLDEN = "golden"
WARM_UPS = 5


@dataclass(eq=False)
class Resident:
    """A version that can answer.

    Attributes:
        version: its number.
        digest: of its folder, as it was read.
        signature: of its model.
        run_s: seconds of one call on one row, warm; decides where calls are made.
        row_s: seconds that each further row of a call takes.
        load_s: seconds from the start of reading to the last golden answer.
        threads: cores that one call keeps busy.
        active: requests that have picked it and are not answered; it is freed when there are none.
    """

    version: int
    digest: str
    signature: Signature
    session: Session
    run_s: float
    row_s: float
    load_s: float
    threads: int
    active: int = 0

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """One call.

        Args:
            feeds: input -> (batch, ...) of the signature's dtype.

        Returns:
            Output -> (batch, ...), in the signature's order.

        Raises:
            StepFailed: the runtime refuses.
        """
        if self.session.fixed_batch is None:
            return self.session.run(feeds)
        return run_rows(self.session, feeds)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it in memory for the block, as a request in line does."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def expected_s(self, rows: int) -> float:
        """Seconds of one call on so many rows, on a machine that does nothing else."""
        return self.run_s + self.row_s * (rows - 1)

    def close(self) -> None:
        """Give its memory back; it must not be run any more."""
        del self.session


def load(base: Path, pointer: Pointer) -> Resident:
    """Read, prove, open, warm up and question the version that a pointer names.

    Args:
        base: the model's serving folder.
        pointer: version and digest.

    Raises:
        DigestMismatch: the folder is not what the pointer says; nothing of it was opened.
        GoldenMismatch: the model does not answer as it did when it was released.
        SlipwayError, OSError: too little memory, unreadable files, a model that the runtime refuses.
    """
    begin = time.perf_counter()
    folder = base / str(pointer.version)
    _prove(folder, pointer.digest)
    memory.check(sum(path.stat().st_size for path in folder.glob("model.onnx*")), f"Version {pointer.version}")
    runtime = _runtime(folder)
    session = runtime.open(folder)
    _check_dtypes(session.signature)
    check_golden(folder / GOLDEN, lambda feeds: run_rows(session, feeds))
    run_s, row_s = _warm_up(folder, session)
    return Resident(
        version=pointer.version,
        digest=pointer.digest,
        signature=session.signature,
        session=session,
        run_s=run_s,
        row_s=row_s,
        load_s=time.perf_counter() - begin,
        threads=runtime.threads,
    )


def _prove(folder: Path, digest: str) -> None:
    if not folder.is_dir():
        raise SlipwayError(f"{folder} does not exist. Run `reconcile`: it copies the version there again.")
    found = digest_folder(folder)
    if found != digest:
        raise DigestMismatch(
            f"{folder} has digest {found[:12]}, the pointer says {digest[:12]}: a file was changed, cut off or added. "
            "Nothing of it was opened. Run `reconcile`: it copies the version there again."
        )


def _runtime(folder: Path) -> OnnxRuntime:
    """The target whose figures passed the gates: sessions are opened with exactly its options."""
    path = folder / GOLDEN / FILE
    if not path.is_file():
        raise SlipwayError(f"{folder} has no golden requests, so nothing can show that it answers as released.")
    runtime = Golden.model_validate_json(path.read_text()).runtime
    return OnnxRuntime.model_validate(runtime or {"runtime": "onnxruntime"})


def _check_dtypes(signature: Signature) -> None:
    for name, spec in {**signature.inputs, **signature.outputs}.items():
        if spec.dtype not in tensors.DTYPES:
            raise SlipwayError(
                f"Tensor {name!r} is {spec.dtype}, which no protocol of this server carries. It carries "
                f"{', '.join(tensors.DTYPES)}: cast it inside the model."
            )


def _warm_up(folder: Path, session: Session) -> tuple[float, float]:
    """Seconds of a call on one row, and of each further row, once caches are warm."""
    _, inputs, _ = read_golden(folder / GOLDEN)
    rows = len(next(iter(inputs.values())))
    one_s, all_s = _fastest(session, {name: values[:1] for name, values in inputs.items()}), _fastest(session, inputs)
    return one_s, max(0.0, all_s - one_s) / max(1, rows - 1)


def _fastest(session: Session, feeds: dict[str, Array]) -> float:
    times = []
    for _ in range(WARM_UPS):
        begin = time.perf_counter()
        run_rows(session, feeds)
        times.append(time.perf_counter() - begin)
    return min(times)
