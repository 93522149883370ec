"""Which chains of techniques make sense, decided before anything runs.

distillation?, then pruning, clustering, qat in any order, then one conversion (inserted by the release, not written),
then at most one technique on the ONNX file.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

from tasks.foundations.errors import InputError
from tasks.techniques.step import Place, Technique

_ORDER = get_args(Place)
_ALLOWED = (
    "distillation first, then training techniques in any order and each once, then at most one of the ONNX techniques"
)


def check_chain(name: str, chain: Sequence[Technique]) -> None:
    """Check one candidate's chain; the empty chain is `float32` and always fine.

    Args:
        name: the candidate.
        chain: its techniques, in order.

    Raises:
        InputError: outside the grammar; the message names the candidate, what came and what is allowed.
    """
    _check_order(name, chain)
    _check_single(name, chain)
    _check_followers(name, chain)


def _check_order(name: str, chain: Sequence[Technique]) -> None:
    for before, after in pairwise(chain):
        if _ORDER.index(before.place) > _ORDER.index(after.place):
            raise _refusal(name, chain, f"{after.kind} cannot come after {before.kind}")


def _check_single(name: str, chain: Sequence[Technique]) -> None:
    for place in ("distillation", "onnx"):
        kinds = [technique.kind for technique in chain if technique.place == place]
        if len(kinds) > 1:
            raise _refusal(name, chain, f"only one of {', '.join(sorted(set(kinds)))} can be used, once")
    for technique in chain:
        if sum(other.kind == technique.kind for other in chain) > 1:
            raise _refusal(name, chain, f"{technique.kind} stands there more than once")


def _check_followers(name: str, chain: Sequence[Technique]) -> None:
    for index, technique in enumerate(chain):
        wanted = technique.followed_by
        if wanted is not None and wanted not in [later.kind for later in chain[index + 1 :]]:
            raise _refusal(name, chain, f"{technique.kind} must be followed by {wanted}")


def _refusal(name: str, chain: Sequence[Technique], reason: str) -> InputError:
    came = ", ".join(technique.kind for technique in chain)
    return InputError(f"candidates.{name}: {reason}. The chain is [{came}]; allowed is: {_ALLOWED}.")
