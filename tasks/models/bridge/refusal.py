"""Why a layer cannot cross, said for all layers of a model at once: a person fixes a model once, not layer by layer."""

from collections.abc import Mapping

from tasks.foundations.errors import NotApplicable


class Unsupported(Exception):
    """One layer or operation has no twin.

    Attributes:
        reason: why.
        advice: what to do, beginning with a verb.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


def refuse(found: Mapping[tuple[str, str], Unsupported], total: int | None = None) -> None:
    """Raise one error that names everything.

    Args:
        found: what cannot cross, by (class, name).
        total: how many layers and operations the model has, if that is known.

    Raises:
        NotApplicable: `found` is not empty.
    """
    if not found:
        return
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (kind, name), error in found.items():
        alike.setdefault((kind, error.reason, error.advice), []).append(repr(name))
    lines = [f"{kind} {', '.join(names)}: {reason}. {advice}." for (kind, reason, advice), names in alike.items()]
    several = len(found) > 1
    counted = f"{len(found)} layer{'s' * several} or function{'s' * several}"
    if total is not None:
        counted = f"{len(found)} of {total} layers and operations"
    raise NotApplicable(
        f"{counted} of the model {'have' if several else 'has'} no twin in tf_keras, which pruning, clustering and qat "
        f"need. {' '.join(lines)} Or use distillation, int8_static, int8_dynamic, float16, which take any model."
    )
