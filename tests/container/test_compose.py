"""The Compose files: fit by the specification's schema, and what they promise holds for each service."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml
from watching.promql import promtool

from container.files import DOCKER, PINNED, compose
from dispatcher.settings import Settings

PLAIN = compose("compose.yaml")
SECURE = compose("compose.yaml", "compose.secure.yaml")
OWN = re.compile(r"kafka-cron-dispatcher:")
ONCE = {"topics", "secrets", "rights"}
SCHEMA = json.loads(
    files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
)
Files = dict[str, Any]

both = pytest.mark.parametrize("found", [PLAIN, SECURE], ids=["plain", "secure"])


def services(found: Files) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = found["services"]
    return table


def own(found: Files) -> dict[str, dict[str, Any]]:
    return {name: each for name, each in services(found).items() if OWN.match(each["image"])}


@both
def test_it_is_what_the_specification_says(found: Files) -> None:
    jsonschema.validate(found, SCHEMA)


def test_what_the_specification_does_not_know_is_found() -> None:
    wrong = {"services": {"kafka": {**PLAIN["services"]["kafka"], "depends_on": {"x": {"condition": "up"}}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@both
def test_images_are_pinned_and_name_no_host(found: Files) -> None:
    images = {each["image"] for each in services(found).values()} - {
        "kafka-cron-dispatcher:${DISPATCHER_TAG:-local}"
    }
    assert [image for image in images if not PINNED.fullmatch(image)] == []


@both
def test_nothing_can_gain_rights(found: Files) -> None:
    for name, each in services(found).items():
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc", "devices"} & set(each), name
        assert "cap_add" not in each or name == "secrets", name
        assert not any("docker.sock" in str(volume) for volume in each.get("volumes", [])), name


@both
def test_our_own_write_to_their_scratch_alone(found: Files) -> None:
    assert set(own(found)) == {"topics", "dispatcher-1", "dispatcher-2", "worker"}
    for name, each in own(found).items():
        assert each["read_only"] is True, name
        assert [mount.partition(":")[0] for mount in each["tmpfs"]] == ["/tmp"], name  # noqa: S108
        for volume in each.get("volumes", []):
            assert volume["read_only"] if isinstance(volume, dict) else volume.endswith(":ro"), name


@both
def test_what_listens_on_the_machine_listens_on_loopback(found: Files) -> None:
    ports = [port for each in services(found).values() for port in each.get("ports") or []]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert len(ports) >= 3


@both
def test_dispatchers_have_names_of_their_own_that_stay(found: Files) -> None:
    runs = {name: each for name, each in own(found).items() if each["command"] == ["run"]}
    assert len(runs) == 2
    assert {each["environment"]["DISPATCHER_INSTANCE"] for each in runs.values()} == set(runs)
    assert "DISPATCHER_INSTANCE" not in services(found)["worker"]["environment"]


@both
def test_each_waits_for_what_it_needs(found: Files) -> None:
    wanted = {"service_healthy", "service_completed_successfully"}
    for name, each in services(found).items():
        for needed, how in each.get("depends_on", {}).items():
            assert how["condition"] in wanted, name
            assert (how["condition"] == "service_completed_successfully") == (needed in ONCE), name
            assert needed in ONCE or "healthcheck" in services(found)[needed], needed
    for name in own(found).keys() - {"topics"}:
        assert "topics" in services(found)[name]["depends_on"], name
    assert {name for name, each in services(found).items() if each["restart"] == "no"} == ONCE & set(
        services(found)
    )


@both
def test_what_is_mounted_is_there(found: Files) -> None:
    for name, each in services(found).items():
        for volume in each.get("volumes", []):
            if isinstance(volume, dict):
                assert (DOCKER / volume["source"]).exists(), (name, volume["source"])
            else:
                assert volume.partition(":")[0] in found["volumes"], (name, volume)
        assert set(each.get("networks", [])) <= set(found["networks"]), name


@both
def test_the_schedule_is_mounted_as_a_directory(found: Files) -> None:
    for name in ("dispatcher-1", "dispatcher-2"):
        [schedule] = [v for v in services(found)[name]["volumes"] if isinstance(v, dict)]
        assert (DOCKER / schedule["source"]).is_dir()
        assert schedule["target"] == "/etc/dispatcher/schedule"


@both
def test_what_is_said_to_the_program_the_program_knows(found: Files) -> None:
    named = {
        name for each in own(found).values() for name in each["environment"] if name.startswith("DISPATCHER_")
    }
    plain = {name.removeprefix("DISPATCHER_").lower() for name in named if "__" not in name}
    assert plain - set(Settings.model_fields) == set()


def test_figures_are_asked_for_where_they_are_told() -> None:
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text())
    dispatcher, worker = config["scrape_configs"]
    [static] = dispatcher["static_configs"]
    assert set(static["targets"]) == {f"{n}:9464" for n, e in own(PLAIN).items() if e["command"] == ["run"]}
    [names] = worker["dns_sd_configs"]
    assert (names["names"], names["port"]) == (["worker"], 9465)
    for name in ("dispatcher-1", "dispatcher-2", "worker", "prometheus"):
        assert "figures" in services(PLAIN)[name]["networks"]
    for path in config["rule_files"]:
        assert (DOCKER / "prometheus" / path).is_file()


def test_prometheus_takes_its_configuration() -> None:
    done = promtool("check", "config", DOCKER / "prometheus" / "prometheus.yaml")
    assert done.returncode == 0, done.stdout


def test_the_dashboard_is_where_grafana_looks() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    provider = yaml.safe_load((provisioning / "dashboards" / "dispatcher.yaml").read_text())["providers"][0]
    mounted = {volume["target"]: volume["source"] for volume in services(PLAIN)["grafana"]["volumes"][:2]}
    folder = DOCKER / mounted[provider["options"]["path"]]
    home = services(PLAIN)["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    dashboard = json.loads((folder / home.rpartition("/")[2]).read_text())
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert dashboard["title"]
    assert source["url"] == "http://prometheus:9090"


def test_in_the_secure_variant_each_has_a_user_and_secrets_of_its_own() -> None:
    users = {
        "topics": "setup",
        "dispatcher-1": "dispatcher",
        "dispatcher-2": "dispatcher",
        "worker": "worker",
    }
    for name, user in users.items():
        each = services(SECURE)[name]
        assert each["environment"]["DISPATCHER_KAFKA__SECURITY_PROTOCOL"] == "SASL_SSL"
        assert each["environment"]["DISPATCHER_KAFKA__SASL_USERNAME"] == user
        assert [v for v in each["volumes"] if str(v).startswith("secrets-")] == [
            f"secrets-{user}:/run/secrets:ro"
        ]
    for name in users.keys() - {"topics"}:
        assert "secrets-setup" not in str(services(SECURE)[name]["volumes"])


def test_in_the_secure_variant_no_secret_is_in_an_environment() -> None:
    text = json.dumps({name: each.get("environment") for name, each in services(SECURE).items()})
    assert not re.search(r"(?i)passw|jaas|secret_key|token", text)
    assert services(SECURE)["secrets"]["network_mode"] == "none"


def test_in_the_secure_variant_kafka_is_not_published_and_is_what_its_file_says() -> None:
    kafka = services(SECURE)["kafka"]
    assert not kafka["ports"]
    lines = (DOCKER / "kafka" / "server.properties").read_text().splitlines()
    said = {name: value for name, _, value in (line.partition("=") for line in lines)}
    named = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in kafka["environment"].items()
    }
    assert {name: said.get(name) for name in ("process.roles", "listeners")} == {
        name: named.pop(name) for name in ("process.roles", "listeners")
    }
    assert set(named) == {"cluster.id", "heap.opts"}
