"""The config of one model: assembles the rooms' schemas; `load` is the only reader of YAML.

Each section's schema lives with the code that reads it. No room sees the whole config.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from flows.config_sentences import sentence, sentences
from flows.schedule import Schedule
from flows.yaml_source import read
from flows.yardsticks import with_yardsticks
from tasks.evaluation.choice import Choose
from tasks.evaluation.gates import Gate
from tasks.evaluation.task import Task
from tasks.execution.settings import Execution
from tasks.foundations.errors import InputError
from tasks.foundations.menu import union
from tasks.foundations.record import Record
from tasks.foundations.work_pools import WorkPool
from tasks.training.config import TrainingConfig

if TYPE_CHECKING:
    ModelSource = Any
    DataSource = Any
    Technique = Any
    Target = Any
    ServingTarget = Any
else:
    ModelSource = union("tasks.models.sources")
    DataSource = union("tasks.data.sources")
    Technique = union("tasks.techniques")
    Target = union("tasks.runtimes", "runtime")
    ServingTarget = union("tasks.serving")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Keep(Record):
    """How much `clean` leaves."""

    versions: int = Field(
        5,
        ge=2,
        description="How many of the newest, and of the uppermost in the production history, keep their files.",
    )
    releases: int = Field(20, ge=1, description="Newest releases whose reports stay.")


class Config(Record):
    """One model's way to production."""

    name: Name = Field(description="Model name in the registry, the journal and the serving folders.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random.")
    task: Task = Field(description="What the outputs mean.")
    model: ModelSource = Field(description="Where the model comes from.")
    data: DataSource = Field(description="Where the data come from.")
    training: TrainingConfig | None = Field(None, description="How a built model is trained.")
    candidates: dict[Name, list[Technique]] = Field(
        default_factory=dict, description="Chains of techniques by name; float32, the empty chain, is always there."
    )
    targets: dict[Name, Target] = Field(min_length=1, description="Where the model will run, by name.")
    gates: list[Gate] = Field(default_factory=list, description="Limits that every candidate must keep.")
    choose: Choose = Field(default_factory=Choose, description="Objective among those that pass every gate.")
    serving: list[ServingTarget] = Field(default_factory=list, description="Serving targets that follow the champion.")
    execution: Execution = Field(default_factory=Execution, description="Processes, time limits, memory.")
    keep: Keep = Field(default_factory=Keep, description="What `clean` leaves.")
    schedule: Schedule | None = Field(None, description="When Prefect starts this model's flows; `deploy` sets it.")
    work_pool: WorkPool = Field("slipway", description="Prefect work pool whose workers run this model's flows.")
    allow_signature_change: bool = Field(
        False, description="Promote a version whose inputs or outputs differ from the champion's."
    )

    def chains(self) -> dict[str, list[Technique]]:
        """Every candidate's chain, `float32` first, with those that others are held against."""
        return with_yardsticks({"float32": [], **self.candidates})

    @property
    def fine_tunes(self) -> bool:
        """Whether a technique of any chain trains."""
        return any(technique.level == "training" for chain in self.candidates.values() for technique in chain)

    @property
    def needs_train(self) -> bool:
        """Whether the data must have a `train` split: the model comes untrained, or a technique fine-tunes."""
        return bool(self.model.needs_training) or self.fine_tunes


class Plan(Record):
    """A config with the place it came from.

    Attributes:
        path: absolute path of the YAML file.
        config: its content, with all defaults.
    """

    path: str
    config: Config

    @property
    def folder(self) -> Path:
        """The config's folder, where entrypoints are looked up."""
        return Path(self.path).parent


def model_name(path: Path) -> str:
    """Name of the model that a config is for, as far as the file can be read; else the file's own name."""
    return written_name(path) or path.stem


def written_name(path: Path) -> str | None:
    """The name that a config says; None where it cannot be read."""
    try:
        name = read(path).content.get("name")
    except InputError:
        return None
    return name if isinstance(name, str) else None


def load(path: Path | str, *, with_files: bool = True) -> Plan:
    """Read and check a config wholly.

    Args:
        path: of the YAML file.
        with_files: whether the files and functions that it names must be there, as they must where it is run.

    Raises:
        InputError: every problem found, one a line: `file:line: where: what, and what was expected`.
    """
    from flows.config_checks import problems
    from flows.config_coerced import coerced

    source = read(Path(path))
    try:
        config = Config.model_validate(source.content)
    except ValidationError as error:
        raise InputError("\n".join(sentences(error, source, Config.model_json_schema()))) from error
    plan = Plan(path=str(Path(path).resolve()), config=config)
    found = [*coerced(source.content, config), *problems(plan, with_files)]
    if found:
        raise InputError("\n".join(sentence(source, where, message) for where, message in found))
    return plan
