"""An observer that tells nobody."""


class Silent:
    """See `tasks.execution.stages.Observer`."""

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A stage says how far it is."""

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A stage ended."""

    def log(self, message: str) -> None:
        """A sentence between the stages."""
