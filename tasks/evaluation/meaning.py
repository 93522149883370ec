"""What the rooms below need to know of the task: models and trainings do not know what an evaluation is."""

from tasks.evaluation.task import AnyTask
from tasks.models.output import Meaning


def meaning_of(task: AnyTask) -> Meaning:
    """The part of a task that decides how a model is read and trained."""
    return Meaning(kind=task.kind, output=getattr(task, "output", None), judged=getattr(task, "judged", None))
