"""Who serves what a move says: every registered server of every kind is told, and asked until it answers."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from tasks.foundations.errors import SlipwayError
from tasks.promotion.control import Control
from tasks.promotion.publish import History, pointers
from tasks.serving._target import ServingTarget, present
from tasks.serving.answers import Observation
from tasks.serving.nodes import silent
from tasks.serving.pointer import Pointer
from tasks.serving.together import together


def observe(
    control: Control, model: str, digests: Mapping[int, str], patience_s: float | None = None
) -> list[Observation]:
    """Tell every server of the model to follow its pointer, and wait for their answers, all kinds side by side.

    Args:
        control: where production is controlled from.
        model: name of the model.
        digests: version -> digest of its bundle, of all versions.
        patience_s: how long to wait at most; None for as long as each kind allows its servers.

    Raises:
        NotServing: a server cannot, or does not answer in time.
        OutOfPatience: the answers did not come within `patience_s`.
    """
    questions = _questions(control, model, digests)
    ask = [partial(serving.observe, control.serving_root, model, pointer) for serving, pointer in questions]
    return [answer for answers in together(ask, patience_s) for answer in answers]


def unheard(control: Control, model: str) -> list[str]:
    """A sentence for every server of another machine that nobody waited for, because it has been silent for long."""
    return [
        f"The server {node.url} (process {node.pid} on {node.host}) has not been heard of for {age:.0f} s; it will "
        f"follow when it is back. If it is gone for good, remove nodes/{node.id}.json in {control.serving_root}."
        for kind in pointers(control, model)
        for node, age in silent(control.serving_root, model, kind)
    ]


def complaints(control: Control, model: str, digests: Mapping[int, str]) -> list[str]:
    """A sentence for every kind that has a server which does not serve what its pointer says."""

    def ask(serving: ServingTarget, pointer: Pointer) -> str:
        try:
            serving.observe(control.serving_root, model, pointer)
        except (SlipwayError, OSError) as error:
            return str(error)
        return ""

    questions = _questions(control, model, digests)
    answers = together([partial(ask, serving, pointer) for serving, pointer in questions])
    return [answer for answer in answers if answer]


def _questions(control: Control, model: str, digests: Mapping[int, str]) -> list[tuple[ServingTarget, Pointer]]:
    """Every kind that serves the model, as the newest version has it: where servers run is a fact of today."""
    configured: dict[str, ServingTarget] = {}
    standing = {each.kind: each for each in present(control.serving_root, model)}
    served = pointers(control, model)
    for version in sorted(digests, reverse=True):
        if served.keys() <= configured.keys():
            break
        with suppress(SlipwayError):  # its bundle is gone
            for kind, published in History(control, model, (), digests).publications(version).items():
                configured.setdefault(kind, published.serving)
    return [(configured.get(kind, standing[kind]), pointer) for kind, pointer in served.items()]
