"""`deploy` against a real Prefect server: what it holds is what the configs say, and twice is once."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.deploy import deploy_configs
from tasks.foundations.errors import InputError
from tests.flows.installation import Installation

FLOWS = ("release", "promote", "rollback", "reconcile")
SCHEDULE = {"cron": "0 3 * * 1", "reconcile": "*/15 * * * *", "timezone": "Europe/Berlin"}


class Server:
    """The server of an installation, asked as its UI asks it."""

    def __init__(self, installation: Installation) -> None:
        self.api = installation.environment["PREFECT_API_URL"]

    def call(self, path: str, data: dict[str, Any] | None = None, method: str | None = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            self.api + path, body, headers={"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read() or "null")

    def deployment(self, name: str) -> dict[str, Any]:
        return self.call(f"/deployments/name/{name}")

    def deployments(self, model: str) -> dict[str, dict[str, Any]]:
        """Flow -> deployment of a model."""
        found = self.call("/deployments/filter", {"deployments": {"name": {"any_": [model]}}})
        flows = {each["id"]: each["name"] for each in self.call("/flows/filter", {})}
        return {flows[each["flow_id"]]: each for each in found}


@pytest.fixture
def server(new_installation: Installation) -> Server:
    return Server(new_installation)


@pytest.fixture
def deploy(new_installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """As the command does, in this process: Prefect's import takes seconds."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("SLIPWAY_HOME", str(new_installation.home))
    monkeypatch.setenv("PREFECT_HOME", str(new_installation.home / "prefect"))
    with temporary_settings({PREFECT_API_URL: new_installation.environment["PREFECT_API_URL"]}):
        yield lambda *configs, dry_run=False: deploy_configs(configs, dry_run=dry_run)


def stamps(server: Server, model: str) -> dict[str, str]:
    return {flow: each["updated"] for flow, each in server.deployments(model).items()}


def test_a_config_becomes_one_deployment_a_flow_and_twice_is_once(new_installation: Installation, server: Server):
    config = new_installation.config(name="one", schedule=SCHEDULE, work_pool="gpu box")

    planned = new_installation.run("deploy", config, "--dry-run")

    assert (planned.code, len(planned.json["created"])) == (0, 4) and not server.deployments("one")
    first = new_installation.run("deploy", config)
    assert first.json["created"] == planned.json["created"] == [f"{flow}/one" for flow in FLOWS]
    assert first.json["work_pools"] == ["gpu box"] and server.call("/work_pools/gpu%20box")["type"] == "process"
    held = server.deployments("one")
    assert set(held) == set(FLOWS)
    assert {each["work_pool_name"] for each in held.values()} == {"gpu box"}
    assert all({"slipway", "one"} <= set(each["tags"]) and "**one**" in each["description"] for each in held.values())
    crons = {flow: [(s["schedule"]["cron"], s["schedule"]["timezone"], s["active"]) for s in each["schedules"]]
             for flow, each in held.items()}  # fmt: skip
    assert crons == {
        "release": [("0 3 * * 1", "Europe/Berlin", True)],
        "reconcile": [("*/15 * * * *", "Europe/Berlin", True)],
        "promote": [],
        "rollback": [],
    }
    before = stamps(server, "one")

    again = new_installation.run("deploy", config)

    assert (again.json["created"], again.json["updated"], again.json["removed"]) == ([], {}, [])
    assert len(again.json["unchanged"]) == 4 and stamps(server, "one") == before


def test_every_form_is_flat_with_titles_descriptions_bounds_and_a_dry_run(
    new_installation: Installation, server: Server, deploy
):
    config = new_installation.config(name="form")
    deploy(config)

    for flow, deployment in server.deployments("form").items():
        form = deployment["parameter_openapi_schema"]["properties"]
        assert deployment["enforce_parameter_schema"], flow
        assert form["dry_run"] | {"position": 0} == {
            "title": "Dry run",
            "description": "Only say what would be done; change nothing.",
            "type": "boolean",
            "default": False,
            "position": 0,
        }
        assert all(field["title"][0].isupper() and field["description"] for field in form.values()), flow
        assert all(field["type"] in ("string", "integer", "number", "boolean") for field in form.values()), flow
    held = server.deployments("form")
    assert held["release"]["parameter_openapi_schema"]["properties"]["config"]["enum"] == [config]
    assert held["release"]["parameters"] == {"config": config}
    assert held["rollback"]["parameter_openapi_schema"]["properties"]["model"]["enum"] == ["form"]
    seed = held["release"]["parameter_openapi_schema"]["properties"]["seed"]
    assert (seed["minimum"], seed["exclusiveMaximum"]) == (0, 2**32)


@pytest.mark.parametrize("wrong", [{"config": "other.yaml"}, {"seed": -1}, {"epochs": 0}, {"dry_run": "perhaps"}])
def test_a_form_that_is_filled_in_wrongly_starts_nothing(new_installation: Installation, server: Server, deploy, wrong):
    deploy(new_installation.config(name="wrong"))
    deployment = server.deployments("wrong")["release"]["id"]

    with pytest.raises(urllib.error.HTTPError) as refused:
        server.call(f"/deployments/{deployment}/create_flow_run", {"parameters": wrong})

    assert refused.value.code == 409


def test_a_change_is_shown_then_made_and_a_paused_schedule_stays_paused(
    new_installation: Installation, server: Server, deploy
):
    deploy(new_installation.config(name="moved", schedule={"cron": "0 3 * * 1"}))
    there = server.deployments("moved")["release"]
    schedule = f"/deployments/{there['id']}/schedules/{there['schedules'][0]['id']}"
    server.call(schedule, {"active": False}, "PATCH")
    config = new_installation.config(name="moved", schedule={"cron": "0 4 * * 1"}, work_pool="other")

    planned = deploy(config, dry_run=True)

    assert server.deployments("moved")["release"]["work_pool_name"] == "slipway"
    assert planned["updated"]["release/moved"] == [
        "schedule: 0 3 * * 1 UTC -> 0 4 * * 1 UTC",
        "work_pool: slipway -> other",
    ]
    assert planned["updated"]["promote/moved"] == ["work_pool: slipway -> other"]
    assert deploy(config)["updated"] == planned["updated"]
    (changed,) = server.deployments("moved")["release"]["schedules"]
    assert (changed["schedule"]["cron"], changed["active"]) == ("0 4 * * 1", False)
    without = new_installation.config(name="moved", work_pool="other")
    assert deploy(without)["updated"] == {"release/moved": ["schedule: 0 4 * * 1 UTC -> none"]}
    assert server.deployments("moved")["release"]["schedules"] == []


def test_a_schedule_that_somebody_added_in_the_ui_goes(new_installation: Installation, server: Server, deploy):
    config = new_installation.config(name="byhand")
    deploy(config)
    hand = [{"schedule": {"interval": 3600}, "active": True}]
    server.call(f"/deployments/{server.deployments('byhand')['promote']['id']}/schedules", hand)

    assert deploy(config)["updated"] == {"promote/byhand": ["schedule: set by hand -> none"]}
    assert server.deployments("byhand")["promote"]["schedules"] == []


def test_a_config_that_is_gone_or_renamed_loses_its_deployments(new_installation: Installation, server: Server, deploy):
    stays, goes, renamed = (new_installation.config(name=name) for name in ("stays", "goes", "renamed"))
    deploy(stays, goes, renamed)
    Path(goes).unlink()
    Path(renamed).write_text(Path(renamed).read_text().replace("name: renamed", "name: newname"))

    planned = deploy(stays, dry_run=True)["removed"]

    gone = sorted(f"{flow}/{name}" for flow in FLOWS for name in ("goes", "renamed"))
    assert planned == gone and server.deployments("goes")
    assert deploy(stays)["removed"] == gone
    assert not server.deployments("goes") and not server.deployments("renamed")
    assert set(server.deployments("stays")) == set(FLOWS)


def test_a_deployment_of_a_folder_that_is_not_here_is_another_machines(
    new_installation: Installation, server: Server, deploy
):
    elsewhere = Installation.__new__(Installation)
    elsewhere.__dict__ |= new_installation.__dict__
    elsewhere.folder = new_installation.folder / "elsewhere"
    elsewhere.folder.mkdir()
    (elsewhere.folder / "tiny.py").write_text((new_installation.folder / "tiny.py").read_text())
    deploy(elsewhere.config(name="far"))
    elsewhere.folder.rename(new_installation.folder / "unmounted")

    assert deploy(new_installation.config(name="near"))["removed"] == []
    assert set(server.deployments("far")) == set(FLOWS)


def test_a_config_that_cannot_be_read_at_this_moment_is_not_gone(
    new_installation: Installation, server: Server, deploy
):
    path = new_installation.folder / "prod.yaml"
    Path(new_installation.config(name="edited")).rename(path)
    deploy(str(path))
    path.write_text("name: [edited\n")

    assert deploy(new_installation.config(name="near"))["removed"] == []
    assert set(server.deployments("edited")) == set(FLOWS)


def test_what_nobody_can_tell_the_config_of_is_left_alone(new_installation: Installation, server: Server, deploy):
    deploy(new_installation.config(name="torn"))
    server.call(f"/deployments/{server.deployments('torn')['release']['id']}", method="DELETE")

    assert deploy(new_installation.config(name="near"))["removed"] == []
    assert set(server.deployments("torn")) == set(FLOWS) - {"release"}


def test_deployments_that_slipway_did_not_make_are_left_alone(new_installation: Installation, server: Server, deploy):
    flow = server.call("/flows/", {"name": "release"})["id"]
    server.call("/deployments/", {"name": "theirs", "flow_id": flow, "tags": ["slip"], "entrypoint": "x.y"})

    assert deploy(new_installation.config(name="ours"))["removed"] == []
    assert server.deployments("theirs")


def test_what_is_missing_here_is_only_noted(new_installation: Installation, deploy):
    data = {"kind": "npz", "path": "nowhere.npz"}

    (note,) = deploy(new_installation.config(name="bare", data=data), dry_run=True)["notes"]

    assert "there is no file" in note and note.endswith("It must be there where it is run.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"schedule": {"cron": "0 3 LW * *"}}, "Prefect cannot read '0 3 LW \\* \\*'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_config_changes_nothing(new_installation: Installation, server: Server, deploy, words, says):
    right = new_installation.config(name="right")

    with pytest.raises(InputError, match=says):
        deploy(right, new_installation.config(name="bad", **words))

    assert not server.deployments("right")


def test_two_configs_of_one_name_are_refused(new_installation: Installation, deploy):
    config = Path(new_installation.config(name="twin"))
    other = config.with_name("other.yaml")
    other.write_text(config.read_text())

    with pytest.raises(InputError, match="are both named twin"):
        deploy(str(config), str(other))


def test_without_a_server_it_says_what_to_do(new_installation: Installation):
    config = new_installation.config(name="alone")
    new_installation.environment.pop("PREFECT_API_URL")

    unnamed = new_installation.run("deploy", config)

    assert unnamed.code == 2 and "set PREFECT_API_URL" in unnamed.json["error"]
    new_installation.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    unreachable = new_installation.run("deploy", config)
    assert unreachable.code == 1 and "http://127.0.0.1:9/api does not answer" in unreachable.json["error"]


def test_a_config_of_the_checkout_is_named_from_there(server: Server, deploy):
    """The checkout's own path differs from machine to machine."""
    deploy("configs/digits.yaml")

    held = server.deployments("digits")["release"]
    assert held["parameters"] == {"config": "configs/digits.yaml"} and held["entrypoint"] == "flows.release.release"


def test_without_names_all_configs_of_the_checkout_are_meant(deploy):
    planned = deploy(dry_run=True)

    listed = {*planned["created"], *planned["updated"], *planned["unchanged"]}
    assert {f"release/{path.stem}" for path in Path("configs").glob("*.yaml")} <= listed
