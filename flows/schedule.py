"""The `schedule` section: when Prefect starts a model's flows by itself."""

from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from tasks.foundations.record import Record

FIELDS = "minute, hour, day of the month, month and day of the week, like 0 3 * * 1 for Mondays at three"


class Schedule(Record):
    """When a model is released, and when its production is put in order."""

    cron: str | None = Field(None, description=f"Releases: {FIELDS}.")
    reconcile: str | None = Field(None, description="Reconciliations, likewise: */15 * * * * is every quarter hour.")
    timezone: str = Field("UTC", description="What the hours count in, like Europe/Berlin.")

    @field_validator("cron", "reconcile")
    @classmethod
    def _is_cron(cls, text: str | None) -> str | None:
        from datetime import UTC, datetime

        from cronsim import CronSim, CronSimError

        if text is None:
            return None
        try:
            if len(text.split()) != 5:
                raise CronSimError(f"{len(text.split())} fields instead of 5")
            next(CronSim(text, datetime.now(UTC)))
        except StopIteration:
            raise ValueError(f"{text!r} is never: no such day comes in the next fifty years") from None
        except CronSimError as error:
            raise ValueError(f"{text!r} is no schedule ({error}). Expected {FIELDS}") from None
        return text

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone. Expected UTC, or one like Europe/Berlin") from None
        return name

    @model_validator(mode="after")
    def _says_something(self) -> "Schedule":
        if self.cron is None and self.reconcile is None:
            raise ValueError("says no time: give cron, reconcile or both, or leave `schedule` out")
        return self
