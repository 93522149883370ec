"""The scripts of the examples for CI, run by bash in a scratch checkout as GitHub and GitLab run them."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.installation import ROOT, Installation

pytestmark = pytest.mark.slow

SERVICES = ("github", "gitlab")
EXAMPLES = ROOT / "docs" / "ci"
GITHUB = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]
GITLAB = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
NO_MODEL_IS_SO_SMALL = {"gates": [{"metric": "size_bytes", "max": 1}]}
URL = "https://ci.example.com/runs/7"


@dataclass(frozen=True)
class Job:
    """How a script ended: exit code, what it printed, and the Markdown that it posted."""

    code: int
    log: str
    posted: str


class Checkout:
    """A checkout as a runner has it: an environment, configs, and a home that lasts."""

    def __init__(self, folder: Path, prefect_url: str | None = None) -> None:
        (folder / "configs").mkdir()
        (folder / ".venv").symlink_to(sys.prefix)
        self.folder = folder
        self.installation = Installation(folder / "configs", prefect_url)
        self.installation.environment.pop("SLIPWAY_JOURNAL_URL", None)
        self.values = {"vars.SLIPWAY_HOME": str(self.installation.home), "matrix.model": "tiny", "github.actor": "ada"}

    def check(self, service: str) -> Job:
        """The step that checks configs."""
        if service == "github":
            return self._run(step("check", "Check")["run"], {})
        return self._run(GITLAB["check"]["script"][-1], {})

    def release(self, service: str) -> Job:
        """The step that releases, with the variables that its file gives it."""
        for old in ("summary.md", "report.md", "report.html", "release.json"):
            (self.folder / old).unlink(missing_ok=True)
        if service == "github":
            found = step("release", "Release")
            given = {name: self._evaluated(text) for name, text in found["env"].items()}
            run = {"GITHUB_SERVER_URL": "https://ci.example.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
            return self._run(found["run"], {**given, **run, "GITHUB_STEP_SUMMARY": "summary.md"})
        given = {"MODEL": self.values["matrix.model"], "SLIPWAY_HOME": self.values["vars.SLIPWAY_HOME"]}
        given["SLIPWAY_ACTOR"] = GITLAB[".release"]["variables"]["SLIPWAY_ACTOR"].replace("$GITLAB_USER_LOGIN", "ada")
        return self._run(GITLAB[".release"]["script"][-1], {**given, "CI_JOB_URL": URL})

    def let_releases_end(self, code: int, answer: str) -> None:
        """From now on a release prints this and ends so, at once; every other command is the real one."""
        (self.folder / ".venv").unlink()
        (self.folder / "answer").write_text(answer)
        python = self.folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\n[ "$3" = release ] && cat answer && exit {code}\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def kept(self, service: str) -> set[str]:
        """Artifacts of the release that are there."""
        upload = next(each for each in GITHUB["release"]["steps"] if "upload-artifact" in each.get("uses", ""))
        names = {"github": upload["with"]["path"].split(), "gitlab": GITLAB[".release"]["artifacts"]["paths"]}
        return {name for name in names[service] if (self.folder / name).is_file()}

    def _evaluated(self, text: str) -> str:
        """With each `${{ name }}` as GitHub would fill it; variables and secrets that are not set are empty."""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            return self.values.get(name, "") if name.startswith(("vars.", "secrets.")) else self.values[name]

        return re.sub(r"\$\{\{ ([\w.]+) }}", value, text)

    def _run(self, script: str, given: dict[str, Any]) -> Job:
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        environment = {**self.installation.environment, **given}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        posts = [self.folder / name for name in ("summary.md", "report.md") if (self.folder / name).is_file()]
        return Job(done.returncode, done.stdout + done.stderr, "".join(post.read_text() for post in posts))


def step(job: str, name: str) -> dict[str, Any]:
    """A step of a job at GitHub."""
    found: dict[str, Any] = next(each for each in GITHUB[job]["steps"] if each.get("name") == name)
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, prefect_url):
    """One checkout and home for all tests: what one release has made is reused by the next."""
    return Checkout(tmp_path_factory.mktemp("checkout"), prefect_url)


@pytest.fixture(scope="module")
def promoted(checkout):
    """At GitHub, a model that passes its gates."""
    checkout.installation.config()
    job = checkout.release("github")
    return job, checkout.kept("github")


def test_a_release_that_is_promoted_ends_well_and_posts_its_report(promoted):
    job, kept = promoted

    assert job.code == 0, job.log
    assert "::notice title=tiny is released::promoted version 1 (the first one)" in job.log
    assert job.posted.startswith("# tiny: promoted version 1")
    assert kept == {"report.html", "release.json"}


def test_the_journal_names_the_person_and_the_run(promoted, checkout):
    events = checkout.installation.status()["journal"]

    assert {event["actor"] for event in events} == {"ada (GitHub)"}
    assert "https://ci.example.com/a/b/actions/runs/7" in {event["reason"] for event in events}


def test_what_a_gate_refuses_fails_the_job_with_3_and_says_why(promoted, checkout):
    checkout.installation.config(**NO_MODEL_IS_SO_SMALL)

    job = checkout.release("gitlab")

    assert job.code == 3, job.log
    assert "tiny is refused: refused: cpu: No candidate passes" in job.log
    assert job.posted.startswith("# tiny: refused: cpu: No candidate passes")
    assert "## Not passed" in job.posted
    assert checkout.kept("gitlab") == {"report.html", "report.md", "release.json"}
    assert checkout.installation.status()["champion"] == 1


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("code", "answer", "said"),
    [
        (0, {"decision": "already in production"}, "tiny is released{}already in production"),
        (3, {"decision": "refused: cpu: no"}, "tiny is refused{}refused: cpu: no"),
        (4, {"decision": "inconclusive: cpu: no"}, "tiny is undecided{}inconclusive: cpu: no"),
        (1, {"error": "50 % of\ntwo"}, "tiny failed with exit code 1{}50 % of\ntwo"),
        (137, None, "tiny failed with exit code 137{}The release was killed"),
    ],
)
def test_every_exit_code_is_that_of_the_job_under_a_title_of_its_own(service, code, answer, said, tmp_path):
    checkout = Checkout(tmp_path)
    checkout.let_releases_end(code, json.dumps(answer) if answer else "")

    job = checkout.release(service)

    github = f"::{'error' if code else 'notice'} title={said.format('::')}".replace("%", "%25").replace("\n", "%0A")
    assert job.code == code
    assert (github if service == "github" else said.format(": ")) in job.log
    assert job.posted.startswith(f"# {said.partition('{}')[0]}\n")
    assert said.partition("{}")[2] in job.posted


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("code", [0, 3])
def test_a_report_that_cannot_be_made_or_copied_changes_no_exit_code_and_is_said(service, code, tmp_path):
    checkout = Checkout(tmp_path)
    answer = {"decision": "all", "model": "tiny", "release": "never-made", "report": str(tmp_path / "nowhere.html")}
    checkout.let_releases_end(code, json.dumps(answer))

    job = checkout.release(service)

    assert job.code == code
    assert job.log.count("a report of tiny is missing" if service == "gitlab" else "::warning title=A report of") == 2
    assert service != "gitlab" or (tmp_path / "annotations.json").is_file()


@pytest.mark.parametrize("job", ["check", "release"])
def test_what_configs_name_is_made_before_they_are_read(job):
    named = [step.get("name") for step in GITHUB[job]["steps"]]
    first, last = GITLAB[{"check": "check", "release": ".release"}[job]]["script"]

    assert named.index("Set up") < named.index("Make what configs name") < named.index(job.capitalize())
    assert step(job, "Make what configs name")["run"].startswith(".venv/bin/python configs/bring_your_own.py")
    assert first == ".venv/bin/python configs/bring_your_own.py" and f"flows {job}" in last


@pytest.mark.parametrize("service", SERVICES)
def test_what_ends_before_there_is_a_report_posts_its_sentence_and_no_older_report(service, promoted, checkout):
    checkout.installation.config(candidates={"int8": [{"kind": "int4"}]})

    job = checkout.release(service)

    assert job.code == 2, job.log
    assert "tiny failed with exit code 2" in job.log
    assert "int4" in job.posted and "promoted" not in job.posted
    assert "report.html" not in checkout.kept(service)


def test_gitlab_shows_the_title_beside_the_job(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.let_releases_end(3, "{}")
    checkout.release("gitlab")

    link = json.loads((tmp_path / "annotations.json").read_text())["Slipway"][0]["external_link"]

    assert link == {"label": "tiny is refused", "url": f"{URL}/artifacts/browse"}


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_released_where_all_would_be_forgotten(service, tmp_path):
    checkout = Checkout(tmp_path)
    checkout.installation.config()
    checkout.values["vars.SLIPWAY_HOME"] = ""

    job = checkout.release(service)

    assert job.code != 0
    assert "SLIPWAY_JOURNAL_URL: is not set" in job.log
    assert checkout.kept(service) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_one_wrong_config_among_right_ones_fails_the_check_and_is_named(service, tmp_path):
    checkout = Checkout(tmp_path)
    checkout.installation.config(name="first", candidates={"int8": [{"kind": "int4"}], "more": []})
    checkout.installation.config(name="second")

    wrong = checkout.check(service)
    (tmp_path / "configs" / "first.yaml").unlink()
    right = checkout.check(service)

    assert (wrong.code, right.code) == (2, 0), wrong.log + right.log
    assert "int4" in wrong.log and "configs/second.yaml is right." in wrong.log
    assert service != "github" or "::error file=configs/first.yaml,title=configs/first.yaml is wrong::" in wrong.log
    assert service != "gitlab" or "int4" in (tmp_path / "check.txt").read_text()
