"""A whole data set through an opened model, one batch in memory at a time."""

from collections.abc import Iterator, Mapping

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.models.rows import match, take
from tasks.runtimes.session import Array, Session


def predict_rows(
    session: Session, arrays: Mapping[str, Array], batch_size: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Run the model over all rows, one batch in memory at a time.

    The last batch is smaller; a model that accepts only one batch size gets it filled up with copies of its last
    row, whose outputs are dropped.

    Args:
        session: an opened model.
        arrays: data name -> (rows, ...), memory-mapped or not.
        batch_size: rows of one call; a model with a fixed batch overrules it.

    Yields:
        (index of the first row, output name -> (batch, ...)).

    Raises:
        InputError: the data do not fit the signature.
        StepFailed: an output is not one entry a row.
    """
    matched = match(arrays, session.signature)
    rows = len(next(iter(matched.values())))
    size = session.fixed_batch or batch_size
    for start in range(0, rows, size):
        batch = take_batch(session, matched, np.arange(start, min(start + size, rows)))
        count = min(size, rows - start)
        yield start, {name: _per_row(name, output, batch)[:count] for name, output in session.run(batch).items()}


def run_rows(session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All rows at once, or in parts of the only batch size that the model accepts.

    Args:
        session: an opened model.
        feeds: input name -> (rows, ...).

    Returns:
        Output name -> (rows, ...).

    Raises:
        InputError, StepFailed: see `predict_rows`.
    """
    rows = len(next(iter(feeds.values())))
    parts = [outputs for _, outputs in predict_rows(session, feeds, rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def take_batch(session: Session, matched: Mapping[str, Array], index: Array) -> dict[str, Array]:
    """The rows at `index` as the session takes them, filled up with copies of the last to its fixed batch.

    Args:
        session: an opened model.
        matched: what `match` returned.
        index: (batch,) row numbers.

    Returns:
        Model input -> (batch or fixed batch, ...) of the signature's dtype.
    """
    missing = (session.fixed_batch or len(index)) - len(index)
    if missing > 0:
        index = np.concatenate([index, np.repeat(index[-1:], missing)])
    rows: slice | Array = index
    if missing <= 0 and len(index) and index[-1] - index[0] == len(index) - 1:
        rows = slice(int(index[0]), int(index[-1]) + 1)  # a view: a memory map reads these pages only, once
    return take(matched, session.signature, rows)


def _per_row(name: str, output: Array, batch: Mapping[str, Array]) -> Array:
    rows = len(next(iter(batch.values())))
    if output.ndim == 0 or len(output) != rows:
        raise StepFailed(
            f"Output {name!r} has shape {output.shape} for a batch of {rows} rows; its first one must be the rows."
        )
    return output
