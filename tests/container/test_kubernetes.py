"""The Kubernetes files: fit by strict schemas, fit for the restricted profile, and fitting one another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from container.files import DOCKER, DOCKERFILE, MANIFESTS, instructions, manifests
from dispatcher.feed.loader import load
from dispatcher.observe.metric_table import TABLE
from dispatcher.settings import Settings

VERSION = "1.37"
OLDEST = "1.31"
Manifest = dict[str, Any]
ALL = [each for each in manifests() if each["kind"] not in {"Kustomization", "ScaledObject"}]
PODS = [each for each in ALL if each["kind"] in {"StatefulSet", "Deployment", "Job"}]


def called(each: Manifest) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def of(name: str) -> Manifest:
    [found] = [each for each in manifests() if each["kind"] != "Kustomization" and called(each) == name]
    return found


def pod(each: Manifest) -> Manifest:
    spec: Manifest = each["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", [OLDEST, VERSION])
@pytest.mark.parametrize("each", ALL, ids=called)
def test_it_is_what_kubernetes_knows(each: Manifest, version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_what_kubernetes_does_not_know_is_found() -> None:
    wrong = deepcopy(of("PodDisruptionBudget/dispatcher"))
    wrong["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_scaled_object_is_what_keda_knows() -> None:
    schema = json.loads(Path(__file__).with_name("scaled_object.schema.json").read_text())
    scaled = deepcopy(of("ScaledObject/worker"))
    jsonschema.validate(scaled, schema)
    scaled["spec"]["triggers"][0]["metadata"]["threshold"] = 1  # KEDA takes text alone
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, schema)


def test_all_are_applied_in_one_namespace() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    assert kustomization["namespace"] == of("Namespace/dispatcher")["metadata"]["name"]
    for each in manifests():
        if each["kind"] not in {"Kustomization", "Namespace"}:
            assert each["metadata"]["namespace"] == "dispatcher", called(each)


def test_images_get_their_place_and_tag_from_the_kustomization() -> None:
    [image] = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["images"]
    assert {container["image"] for each in PODS for container in pod(each)["containers"]} == {image["name"]}


@pytest.mark.parametrize("each", PODS, ids=called)
def test_pods_keep_the_restricted_profile_and_more(each: Manifest) -> None:
    spec = pod(each)
    [user] = [i.rest for i in instructions(DOCKERFILE.read_text()) if i.name == "USER"]
    about = spec["securityContext"]
    assert f"{about['runAsUser']}:{about['runAsGroup']}" == user
    assert about["runAsNonRoot"] is True
    assert about["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("each", PODS, ids=called)
def test_what_is_mounted_is_a_volume_and_only_scratch_can_be_written(each: Manifest) -> None:
    volumes = {volume["name"]: volume for volume in pod(each)["volumes"]}
    [container] = pod(each)["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    for mount in container["volumeMounts"]:
        assert "subPath" not in mount  # the kubelet never swaps what is mounted so
        assert mount.get("readOnly", False) is ("emptyDir" not in volumes[mount["name"]])


@pytest.mark.parametrize("name", ["StatefulSet/dispatcher", "Deployment/worker"])
def test_probes_and_prometheus_ask_where_the_program_answers(name: str) -> None:
    [container] = pod(of(name))["containers"]
    [port] = container["ports"]
    environment = " ".join(i.rest for i in instructions(DOCKERFILE.read_text()) if i.name == "ENV")
    variable = {"run": "DISPATCHER_ADDRESS", "work": "DISPATCHER_WORK_ADDRESS"}[container["args"][0]]
    assert f"{variable}=0.0.0.0:{port['containerPort']}" in environment
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/health", "liveness": "/health", "readiness": "/ready",
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    annotations = of(name)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    allowed = [
        each["port"] for rule in of("NetworkPolicy/figures")["spec"]["ingress"] for each in rule["ports"]
    ]
    assert port["containerPort"] in allowed


@pytest.mark.parametrize("name", ["StatefulSet/dispatcher", "Deployment/worker"])
def test_selectors_select_the_pods(name: str) -> None:
    labels = of(name)["spec"]["template"]["metadata"]["labels"].items()
    short = name.partition("/")[2]
    selectors = [of(name)["spec"]["selector"], of(f"PodDisruptionBudget/{short}")["spec"]["selector"]]
    selectors += [each["labelSelector"] for each in pod(of(name))["topologySpreadConstraints"]]
    for selector in selectors:
        assert selector["matchLabels"].items() <= labels
    for policy in ("kafka", "figures"):
        assert of(f"NetworkPolicy/{policy}")["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_dispatchers_are_called_by_names_that_stay() -> None:
    [container] = pod(of("StatefulSet/dispatcher"))["containers"]
    instance = {"name": "DISPATCHER_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert instance in container["env"]
    assert of("StatefulSet/dispatcher")["spec"]["replicas"] == 2
    assert of("StatefulSet/dispatcher")["spec"]["serviceName"] == of("Service/dispatcher")["metadata"]["name"]


def test_workers_may_take_as_long_to_stop_as_they_are_told() -> None:
    spec = pod(of("Deployment/worker"))
    told = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    assert spec["terminationGracePeriodSeconds"] > float(told["DISPATCHER_STOP_SECONDS"])
    rest = pod(of("StatefulSet/dispatcher"))["terminationGracePeriodSeconds"]
    assert rest > Settings.model_fields["stop_seconds"].default


def test_nobody_talks_with_anybody_else() -> None:
    everybody = of("NetworkPolicy/nobody")["spec"]
    assert everybody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    closed = [
        block
        for to in of("NetworkPolicy/world")["spec"]["egress"][0]["to"]
        for block in to["ipBlock"]["except"]
    ]
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7"} <= set(closed)


def environment() -> Iterator[str]:
    yield from of("ConfigMap/settings")["data"]
    yield from (each["name"] for some in PODS for each in pod(some)["containers"][0].get("env", []))


def test_what_is_said_to_the_program_the_program_knows() -> None:
    named = {
        name.removeprefix("DISPATCHER_").lower().partition("__")[0]
        for name in environment()
        if name.startswith("DISPATCHER_")
    }
    assert named - set(Settings.model_fields) == set()


def test_the_schedule_is_one() -> None:
    [(name, text)] = of("ConfigMap/schedule")["data"].items()
    assert list(load(text.encode(), name).schedule.jobs) == ["heartbeat"]
    [environment] = [
        i.rest for i in instructions(DOCKERFILE.read_text()) if i.name == "ENV" and "SCHEDULE" in i.rest
    ]
    [container] = pod(of("StatefulSet/dispatcher"))["containers"]
    [place] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "schedule"]
    assert f"DISPATCHER_SCHEDULE={place}/{name}" in environment


def test_workers_are_scaled_by_figures_that_they_tell() -> None:
    scaled = of("ScaledObject/worker")["spec"]
    assert called(of(f"Deployment/{scaled['scaleTargetRef']['name']}"))
    assert "replicas" not in of("Deployment/worker")["spec"]
    assert scaled["minReplicaCount"] >= 1
    [trigger] = scaled["triggers"]
    asked = set(re.findall(r"dispatcher_\w+", trigger["metadata"]["query"]))
    assert asked == {"dispatcher_worker_wanted_seats", "dispatcher_worker_seats_most"}
    assert asked <= {metric.name for metric in TABLE}
    assert (DOCKER / "kubernetes" / "scaling.yaml").exists()
