"""`predict`: ask the server that runs a model for the rows of a file. Needs what a serving node has, and no more."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.predict_client import Client, NoServer, Outputs, Served
from flows.predict_rows import check_file, read
from flows.predict_shown import check_place, plain, text, write
from flows.serve import serving_folder
from tasks.foundations.errors import InputError, SlipwayError
from tasks.serving import nodes

Array = np.ndarray[Any, Any]
DEFAULT_URL = "http://127.0.0.1:8080"
LIMITS_S = 0.001, 1e6  # sockets know no finer limit, and the coarsest has an end
LOOPBACK = ("//127.", "//localhost", "//[::1]")


@dataclass(frozen=True)
class Question:
    """What is asked of whom.

    Attributes:
        model: its name.
        rows: the file.
        url: the server; None looks for one.
        version: which one; None for the one in production, whichever that is when a batch comes.
        label: the version that bears it when the first batch goes answers all.
        output: where the answers go as a file; None for nowhere.
        batch_size: rows of one request.
        timeout_s: limit of one request, with its repetitions.
    """

    model: str
    rows: Path
    url: str | None = None
    version: int | None = None
    label: str | None = None
    output: Path | None = None
    batch_size: int = 32
    timeout_s: float = 30.0


def predict(question: Question) -> dict[str, Any]:
    """Answers for every row.

    Raises:
        InputError: the file does not fit the model, or there is no such model, version or label.
        SlipwayError: no server answers, or it cannot.
    """
    if question.version is not None and question.label is not None:
        raise InputError("--version and --label both say which version to ask. Give one of them.")
    if not LIMITS_S[0] <= question.timeout_s <= LIMITS_S[1]:
        raise InputError(
            f"--timeout-s is {question.timeout_s:g}; expected {LIMITS_S[0]:g} to {LIMITS_S[1]:.0f} seconds."
        )
    check_file(question.rows)
    if question.output is not None:
        check_place(question.output)
    notes: list[str] = []
    client, served, version = _find(question)
    with closing(client):
        feeds = read(question.rows, served.inputs, notes.append)
        start = time.perf_counter()
        answers = list(_ask(client, question, version, feeds))
        milliseconds = (time.perf_counter() - start) * 1000
    parts = {name: [answer.arrays[name] for answer in answers] for name in answers[0].arrays}
    _check_finite(parts)
    versions = list(dict.fromkeys(_number(answer.version) for answer in answers))
    content: dict[str, Any] = {"model": question.model, "version": versions[-1]}
    content |= {"versions": versions} if len(versions) > 1 else {}
    content["rows"] = len(next(iter(feeds.values())))
    content["outputs"] = {name: [row for part in each for row in plain(part)] for name, each in parts.items()}
    notes += _notes(versions)
    how = f"{client.url} in {len(answers)} request{'s' if len(answers) > 1 else ''}, {milliseconds:.0f} ms"
    shown = [text(content, parts, how, question.output), *(f"note: {note}" for note in notes)]
    if question.output is not None:
        write(question.output, content, parts)
        content = {key: value for key, value in content.items() if key != "outputs"} | {"output": str(question.output)}
    return {**content, "notes": notes, "exit_code": 0, "text": "\n".join(shown)}


def _notes(versions: list[int | str]) -> list[str]:
    if len(versions) == 1:
        return []
    return [f"another version came into production while rows were sent: {' then '.join(map(str, versions))} answered"]


def _find(question: Question) -> tuple[Client, Served, int | None]:
    """The first server that answers, what it says of the model, and the version to ask it for."""
    tried = []
    for url, why in _places(question):
        client = Client(url, question.timeout_s)
        try:
            return client, *_meet(client, question)
        except NoServer as error:
            tried.append(f"{error} ({why})")
    raise SlipwayError(
        f"No server answers. {'; '.join(tried)}. Start one with `python -m flows serve`, or say where it is "
        "with --url or SLIPWAY_SERVER."
    )


def _meet(client: Client, question: Question) -> tuple[Served, int | None]:
    try:
        named, model = question.label, question.model
        version = client.labelled(model, named) if named is not None else question.version
        return client.served(model, version), version
    except BaseException:
        client.close()
        raise


def _places(question: Question) -> Iterator[tuple[str, str]]:
    """Addresses in the order they are tried, each with who named it."""
    if question.url is not None:
        yield question.url, "--url"
    elif os.environ.get("SLIPWAY_SERVER"):
        yield os.environ["SLIPWAY_SERVER"], "SLIPWAY_SERVER"
    else:
        folder = serving_folder()
        known = sorted(nodes.living(folder, question.model), key=lambda node: not node.is_here)
        reachable = [node.url for node in known if node.is_here or not any(each in node.url for each in LOOPBACK)]
        yield from ((url, f"registered in {folder}") for url in reachable)
        if DEFAULT_URL not in reachable:
            yield DEFAULT_URL, "the default"


def _ask(client: Client, question: Question, version: int | None, feeds: dict[str, Array]) -> Iterator[Outputs]:
    rows = len(next(iter(feeds.values())))
    for start in range(0, rows, question.batch_size):
        batch = {name: array[start : start + question.batch_size] for name, array in feeds.items()}
        answer = client.infer(question.model, version, batch)
        wanted = min(question.batch_size, rows - start)
        for name, array in answer.arrays.items():
            if array.ndim == 0 or len(array) != wanted:
                raise SlipwayError(
                    f"{client.url} was asked for {wanted} rows and gave {name} in the shape {array.shape}."
                )
        yield answer


def _check_finite(parts: dict[str, list[Array]]) -> None:
    for name, arrays in parts.items():
        before = 0
        for array in arrays:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                row = before + int(np.argwhere(~np.isfinite(array))[0][0])
                raise SlipwayError(f"The model's output {name} is NaN or infinite for row {row}. Look at that row.")
            before += len(array)


def _number(version: str) -> int | str:
    return int(version) if version.isdecimal() else version
