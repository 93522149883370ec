"""docker/compose.yaml: what it claims of every service, and that a real Compose accepts it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
COMPOSE_PROGRAM = Path(sys.executable).with_name("docker-compose")  # Docker's own, from the lock; it needs no engine
SECRET_WORDS = re.compile(r"PASS|SECRET|AUTH|TOKEN|_KEY|LOGIN")

each_service = pytest.mark.parametrize("name", SERVICES)


def test_every_server_of_a_real_installation_is_there():
    assert set(SERVICES) == {
        "postgres", "mlflow", "prefect", "worker", "server", "tensorflow-serving", "prometheus", "grafana"
    }  # fmt: skip


@each_service
def test_an_image_is_pinned_to_a_whole_version(name):
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", SERVICES[name]["image"])


@each_service
def test_a_process_is_no_root_and_can_become_nobody_else(name):
    service = SERVICES[name]

    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_a_container_writes_only_to_its_volumes_and_to_memory(name):
    service = SERVICES[name]
    binds = [volume for volume in service.get("volumes", []) if volume.startswith(".")]

    assert service["read_only"] is True
    assert all(bind.endswith(":ro") and (FILE.parent / bind.split(":")[0]).exists() for bind in binds), binds


@each_service
def test_a_service_says_how_it_is_and_has_limits(name):
    service = SERVICES[name]

    assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["timeout"]
    assert service["mem_limit"] and service["pids_limit"] and service["restart"] == "unless-stopped"


@each_service
def test_who_needs_another_waits_until_that_is_healthy(name):
    needed = SERVICES[name].get("depends_on", {})

    assert all(entry == {"condition": "service_healthy"} for entry in needed.values())


@each_service
def test_ports_are_open_to_this_machine_only(name):
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in SERVICES[name].get("ports", []))


@each_service
def test_no_secret_stands_in_the_environment_or_on_the_command_line(name):
    service = SERVICES[name]
    environment = service.get("environment", {})
    secret = {key: value for key, value in environment.items() if SECRET_WORDS.search(key) and "CONFIG_PATH" not in key}

    assert all(value in {f"/run/secrets/{one}" for one in service["secrets"]} for value in secret.values()), secret
    assert not re.search(r"://[^/@]*:[^/@]*@", json.dumps(service)), "a password in a URL"
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_a_service_gets_only_the_secrets_that_it_reads():
    for name, service in SERVICES.items():
        read = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service)))
        if name == "postgres":  # its script makes the users of the others
            read |= set(re.findall(r"\w+_database_password", (ROOT / "docker/postgres/databases.sh").read_text()))
        assert set(service.get("secrets", [])) == read, name


def test_databases_and_the_admin_port_are_out_of_reach_of_clients():
    assert SERVICES["postgres"]["networks"] == ["data"] and "ports" not in SERVICES["postgres"]
    assert COMPOSE["networks"]["data"]["internal"] and COMPOSE["networks"]["back"]["internal"]
    server = SERVICES["server"]
    assert "--admin-host=admin.server" in server["command"]
    assert server["networks"] == {"front": {}, "back": {"aliases": ["admin.server"]}}
    assert [port for port in server["ports"] if "8081" in port] == []


def test_the_worker_and_both_servers_share_the_serving_folder_under_one_path():
    """models.config names versions by absolute paths."""
    places = {name: [v for v in SERVICES[name].get("volumes", []) if v.startswith("serving:")] for name in SERVICES}

    assert places["worker"] == places["server"] == ["serving:/var/lib/slipway/serving"]
    assert places["tensorflow-serving"] == ["serving:/var/lib/slipway/serving:ro"]
    assert SERVICES["worker"]["user"] == SERVICES["server"]["user"] == SERVICES["tensorflow-serving"]["user"]


def as_compose_reads_it(folder: Path, **variables: str) -> dict[str, Any]:
    """The file with all its variables filled in."""
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([folder / "docker" / "make-secrets"], check=True)
    words = [COMPOSE_PROGRAM, "-f", folder / "docker" / "compose.yaml", "config", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def browsers_see(read: dict[str, Any]) -> tuple[list[str], str]:
    """MLflow's hosts and origins, and where the pages of Prefect look for its API."""
    words = [word for word in read["services"]["mlflow"]["command"] if "-hosts=" in word or "-origins=" in word]
    return words, read["services"]["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"]


def test_a_proxy_in_front_gives_its_own_addresses(tmp_path):
    read = as_compose_reads_it(
        tmp_path,
        SLIPWAY_MLFLOW_HOSTS="mlflow.example.com",
        SLIPWAY_MLFLOW_ORIGINS="https://mlflow.example.com",
        SLIPWAY_PREFECT_UI_API_URL="https://prefect.example.com/api",
    )

    assert browsers_see(read) == (
        ["--allowed-hosts=mlflow:5000,mlflow.example.com", "--cors-allowed-origins=https://mlflow.example.com"],
        "https://prefect.example.com/api",
    )
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"SLIPWAY_\w+(?=:-)", FILE.read_text())) <= set(re.findall(r"SLIPWAY_\w+", readme))


def test_commands_in_the_worker_get_their_secrets():
    said = [line for line in FILE.read_text().splitlines() if "exec worker" in line]

    assert said and all("exec worker with-secrets python" in line for line in said)


def test_docker_compose_accepts_the_file(tmp_path):
    read = as_compose_reads_it(tmp_path)

    assert set(read["services"]) == set(SERVICES)
    assert all(service["read_only"] and service["healthcheck"] for service in read["services"].values())
    assert browsers_see(read) == (
        ["--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000", "--cors-allowed-origins=http://127.0.0.1:5000"],
        "http://127.0.0.1:4200/api",
    )
    assert read["services"]["tensorflow-serving"]["command"][0].count("$$") == 2  # left to the shell inside
