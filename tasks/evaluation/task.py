"""What a model is for: this alone decides which metrics exist and how raw outputs are read."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.foundations.record import Record


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

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(classes) < 2:
            raise ValueError(f"names {len(classes)} class; a classification tells at least two apart")
        twice = next((name for name in classes or () if (classes or ()).count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the class {twice!r} stands twice; every class has one name of its own")
        return classes


class Regression(Record):
    """One or more real numbers a row."""

    kind: Literal["regression"]


Task = Annotated[Classification | Regression, Field(discriminator="kind")]


def primary_metric(task: Classification | Regression) -> str:
    """The quality metric that tables and the Pareto front show: `accuracy`, or `rmse` for regression."""
    return "accuracy" if isinstance(task, Classification) else "rmse"
