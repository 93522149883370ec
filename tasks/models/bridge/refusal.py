"""Why a layer cannot cross, said for all layers of a model at once: a person fixes a model once, not layer by layer."""

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


def refuse(found: dict[str, Unsupported], total: int) -> None:
    """Raise one error that names everything.

    Args:
        found: what cannot cross, by `Class 'name'`.
        total: how many layers and operations the model has.

    Raises:
        NotApplicable: `found` is not empty.
    """
    if not found:
        return
    lines = "; ".join(f"{who}: {each.reason}. {each.advice}" for who, each in found.items())
    raise NotApplicable(
        f"{len(found)} of {total} layers and operations of the model have no twin in tf_keras, which training "
        f"techniques need: {lines}. ONNX-level techniques (int8_static, int8_dynamic, float16) work without a twin."
    )
