"""What a model is for: this alone decides which metrics exist and how raw outputs are read."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.foundations.record import Record

Judged = Annotated[
    str | None,
    Field(
        description="Output that the labels belong to, where the model has several; the others are carried along and "
        "compared with the reference. Default: the first of the model's signature."
    ),
]


class Classification(Record):
    """One class a row, out of two or more."""

    kind: Literal["classification"]
    output: Literal["logits", "probabilities"] = Field(
        description="What the model puts out: `logits` (before softmax or sigmoid) or `probabilities`. "
        "A binary model may have one output column or two."
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="Names of the classes, in the order of the model's outputs: words among the labels become these "
        "integers, and integers get these names. Default: the distinct words of train, sorted.",
    )
    top_k: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="k of top_5_accuracy, top_3_accuracy, ...; left out for models with no more than k classes.",
    )
    judged: Judged = None

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(classes) < 2:
            raise ValueError(f"names {len(classes)} class; a classification tells at least two apart")
        return _distinct(classes, "class")


class Multilabel(Record):
    """Any number of labels a row, each yes or no by itself."""

    kind: Literal["multilabel"]
    output: Literal["logits", "probabilities"] = Field(
        description="What the model puts out for each label: `logits` (before a sigmoid) or `probabilities`."
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="A label is predicted where its probability is above this."
    )
    classes: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Names of the labels, in the order of their columns."
    )
    judged: Judged = None

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _distinct(classes, "label")


class Regression(Record):
    """One or more real numbers a row."""

    kind: Literal["regression"]
    judged: Judged = None


class Custom(Record):
    """Anything else that puts out arrays, judged by metrics of your own."""

    kind: Literal["custom"]
    output: Literal["logits", "probabilities"] | None = Field(
        default=None,
        description="What outputs that are trained by a crossentropy are; no other outputs need to be described.",
    )


AnyTask = Classification | Multilabel | Regression | Custom
Task = Annotated[AnyTask, Field(discriminator="kind")]


def _distinct(names: tuple[str, ...] | None, what: str) -> tuple[str, ...] | None:
    twice = next((name for name in names or () if (names or ()).count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the {what} {twice!r} stands twice; every {what} has one name of its own")
    return names
