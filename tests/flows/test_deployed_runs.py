"""Runs that Prefect starts: by a button of its UI and by a schedule, through a process worker, and through `serve`."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.flows.full_prefect import PREFECT, full_server, process, until
from tests.flows.installation import Installation
from tests.flows.webhook import webhook

pytestmark = pytest.mark.slow

QUICK_RUN = "Run from the Prefect UI with defaults"
SERVED = """\
from prefect import serve
from flows.promote import promote
from flows.rollback import rollback

if __name__ == "__main__":
    serve(*(flow.to_deployment(name="served") for flow in (promote, rollback)))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with full_server(tmp_path_factory.mktemp("full-prefect")) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, server):
    """A tiny model, reconciled every minute, deployed to a pool that one worker serves."""
    installation = Installation(tmp_path_factory.mktemp("deployed"), server.api)
    config = installation.config(schedule={"reconcile": "* * * * *"}, work_pool="tests")
    assert installation.run("deploy", config).code == 0
    environment = server.environment | {key: installation.environment[key] for key in ("SLIPWAY_HOME", "PYTHONPATH")}
    environment["PREFECT_API_URL"] = server.api
    words = [str(PREFECT), "worker", "start", "--pool", "tests"]
    with process(words, environment, installation.folder / "worker.log"):
        yield installation


@pytest.fixture(scope="module")
def released(server, deployed):
    run = server.press_run("release/tiny", {"reason": "a better net", "seed": 7, "epochs": 3})
    return server.ended(run)


def test_a_release_by_the_ui_says_model_and_cause_and_goes_to_production(released, server, deployed):
    assert released["state_type"] == "COMPLETED", server.logs(released["id"])
    assert released["name"] == "release tiny (Prefect UI: a better net)"
    assert {"slipway", "tiny"} <= set(released["tags"])
    status = deployed.status()
    assert status["champion"] == 1
    assert {(event["actor"], event["reason"]) for event in status["journal"]} == {("Prefect UI", "a better net")}


def test_values_of_the_form_hold_for_the_run_and_stand_in_its_report(released, deployed):
    folder = Path(deployed.run("report", "tiny").json["report"]).parent
    report = json.loads((folder / "release.json").read_text())

    notes = [f"{name} is {value} for this run" for name, value in (("seed", 7), ("epochs", 3))]
    assert all(any(note in said for said in report["notes"]) for note in notes), report["notes"]


def test_a_schedule_starts_runs(released, server):
    scheduled = {"name": {"any_": ["reconcile tiny (schedule)"]}, "state": {"type": {"any_": ["COMPLETED"]}}}

    try:
        until(lambda: server.runs(**scheduled), "no scheduled run has ended well", 100)
    finally:
        print([(r["name"], r["state_name"], r["state"]["message"]) for r in server.runs()])


def test_a_dry_run_changes_nothing_and_says_what_would_be(released, server, deployed):
    before = deployed.status()["journal"]

    run = server.ended(server.press_run("release/tiny", {"dry_run": True}, message=None))

    assert (run["state_type"], run["name"]) == ("COMPLETED", "release tiny (API)")
    foretold = "tiny: version 1 is in production; a version of winners that pass takes its place"
    until(lambda: foretold in server.logs(run["id"]), "the log does not say it", 30)
    assert deployed.status()["journal"] == before


def test_moves_are_served_without_a_work_pool(released, server, deployed):
    """`flow.serve` sends the flow itself to a new process, which other ways of running it do not."""
    script = deployed.folder / "served.py"
    script.write_text(SERVED)
    environment = {**deployed.environment, **server.environment, "PREFECT_API_URL": server.api}
    with webhook() as (address, told), ExitStack() as stack:
        environment["SLIPWAY_NOTIFY"] = address
        stack.enter_context(process([sys.executable, str(script)], environment, deployed.folder / "served.log"))
        until(lambda: _is_there(server, "rollback/served"), "nothing is served", 60)
        parameters = {"model": "tiny", "version": 1, "reason": "again"}
        moved = server.ended(server.press_run("promote/served", parameters, QUICK_RUN))
        refused = server.ended(server.press_run("rollback/served", {"model": "tiny", "reason": "p99"}))
    assert (moved["state_type"], moved["name"]) == ("COMPLETED", "promote tiny 1 (Prefect UI: again)")
    until(lambda: "tiny 1 is in production already." in server.logs(moved["id"]), "the log does not say it", 30)
    assert refused["state_type"] == "FAILED" and "has no version before it" in refused["state"]["message"]
    (message,) = told
    assert message["title"] == "tiny: refused" and message["message"].endswith("by Prefect UI: p99")


def _is_there(server, name):
    found = server.call("/deployments/filter", {})
    flows = {each["id"]: each["name"] for each in server.call("/flows/filter", {})}
    return any(f"{flows[each['flow_id']]}/{each['name']}" == name and each["status"] == "READY" for each in found)
