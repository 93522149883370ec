"""The one base class of everything that crosses a process boundary, is stored as JSON or is read from YAML."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A small frozen value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
