"""What a target's own machine is asked for, and what it answers: small records; models and arrays lie in the store."""

from tasks.evaluation.gates import Gate
from tasks.evaluation.task import AnyTask
from tasks.foundations.record import Record
from tasks.runtimes.environment import Environment
from tasks.runtimes.target import Target
from tasks.store.artifact import Artifact


class Place(Record):
    """A model folder in the store: an artifact, or a folder inside one (the champion, in its bundle).

    Attributes:
        artifact: digest of the artifact.
        folder: inside it, empty for the whole.
        digest: what the model is known by where others are compared with it.
        format: of the model, `onnx` for example.
    """

    artifact: str
    folder: str = ""
    digest: str
    format: str


class Order(Record):
    """What one target's machine has to find out for one release.

    Attributes:
        release: its id.
        model: registered name.
        place: name of the target.
        target: a choice of tasks/runtimes.
        dataset: digest of the data set; only its test split is fetched.
        candidates: name -> model.
        champion: the version in production, where a gate of this target names it.
        task: what the outputs mean.
        gates: of the config: rounds are added while one of them is undecided.
        seed: of the release.
        step_timeout_s: limit of one step.
    """

    release: str
    model: str
    place: str
    target: Target
    dataset: str
    candidates: dict[str, Place]
    champion: Place | None = None
    task: AnyTask
    gates: tuple[Gate, ...]
    seed: int
    step_timeout_s: float


class Answer(Record):
    """What a machine has found out.

    Attributes:
        environment: the machine.
        predictions: name -> outputs on the test rows, of the champion too.
        golden: candidate -> its golden requests.
        failures: name -> why it was not measured there.
        measurement: the latency samples; None if nothing could be measured.
        failure: why the machine answers nothing at all, None if it does.
    """

    environment: Environment | None = None
    predictions: dict[str, Artifact] = {}
    golden: dict[str, Artifact] = {}
    failures: dict[str, str] = {}
    measurement: Artifact | None = None
    failure: str | None = None
