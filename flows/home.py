"""Where a local installation keeps its state, and the environment that Prefect and MLflow need to stay inside it.

Never relative to the current folder: CI, worker and server with different current folders would silently use
different registries.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.foundations.checkout import CHECKOUT, from_checkout
from tasks.foundations.errors import InputError


@dataclass(frozen=True)
class Home:
    """The folders of one installation, all absolute."""

    root: Path

    @property
    def store(self) -> Path:
        """Content-addressed artifacts and the action index; of a store elsewhere, what was fetched of it."""
        return self.root / "store"

    @property
    def journal_url(self) -> str:
        """SQLAlchemy URL of the journal; `SLIPWAY_JOURNAL_URL` points it at a PostgreSQL server."""
        return os.environ.get("SLIPWAY_JOURNAL_URL") or f"sqlite:///{self.root / 'journal.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI: `MLFLOW_TRACKING_URI`, else SQLite under the home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifact location of the local MLflow experiment."""
        return self.root / "mlflow" / "artifacts"

    @property
    def serving(self) -> Path:
        """Serving folders, one a kind."""
        return self.root / "serving"

    @property
    def locks(self) -> Path:
        """Locks of moves, one a model."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        """What worker processes print."""
        return self.root / "logs"

    def releases(self, model: str) -> Path:
        """Reports of a model's releases, one folder a release."""
        return self.root / "releases" / model


def config_path(name: str) -> Path:
    """The file of a config that a flow run names; a relative one counts from the checkout, wherever a worker runs."""
    return CHECKOUT / Path(name).expanduser()


def config_name(path: Path) -> str:
    """How deployments name a config: from the checkout, which may lie elsewhere on another machine, else absolute."""
    return from_checkout(path)


def home() -> Home:
    """The installation: `SLIPWAY_HOME`, else `.slipway/` in the checkout that holds `flows/`; made if it is not there.

    Raises:
        InputError: it cannot be made, or is not named where Slipway is installed without its checkout.
    """
    if not os.environ.get("SLIPWAY_HOME") and not (CHECKOUT / "pyproject.toml").is_file():
        raise InputError(
            "Slipway is installed here without its checkout: let SLIPWAY_HOME name the folder that holds its state."
        )
    root = Path(os.environ.get("SLIPWAY_HOME") or CHECKOUT / ".slipway").expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{root} cannot be the home of an installation: {error.strerror}. Let SLIPWAY_HOME name a folder that may "
            "be written."
        ) from error
    return Home(root)


def prepare_prefect(place: Home) -> None:
    """Set Prefect's environment before it is first imported.

    Without `PREFECT_API_URL` an ephemeral server is used, with its database under the home unless `PREFECT_HOME` says
    otherwise. Its start may take over a minute on a loaded machine (default limit: 20 s).
    """
    defaults = {
        "PREFECT_HOME": str(place.root / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # our own display speaks; the logs are in the UI
        "PREFECT_CLI_COLORS": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # the server never starts without it
