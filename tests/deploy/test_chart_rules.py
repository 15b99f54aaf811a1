"""What the rendered chart promises of pods: who may call whom, what they may do, when they are ready, how they stop."""

import json
from typing import Any

import pytest
import yaml

from mesh import chart
from mesh.app import TARGETS
from mesh.envoy.groups import MESH_PORT
from tests.deploy.helm_binary import CHART, MINIMAL, VALUES, Helm, containers, env_of, pods

pytestmark = pytest.mark.timeout(180)

TOPOLOGIES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "all": ({"mode": "all"}, dict.fromkeys(TARGETS, "all")),
    "services": ({}, {name: "edge" if one.edge else name for name, one in TARGETS.items()}),
    "separate": ({"edge": {"colocate": False}}, {name: name for name in TARGETS}),
}
"""Name → values, and the group of each target."""


def component(peer: dict[str, Any]) -> str:
    """The component that a NetworkPolicy peer selects."""
    return str(peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"])


def peers_on(rules: list[dict[str, Any]], port: int, side: str) -> list[Any]:
    """Components that rules allow on a port; "anybody" for a rule without peers."""
    found: list[Any] = []
    for rule in rules:
        if port in [one["port"] for one in rule["ports"]]:
            found += [component(one) for one in rule[side]] if side in rule else ["anybody"]
    return sorted(found)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_network_policies_are_the_table_of_who_calls_whom(helm: Helm, topology: str) -> None:
    values, group_of = TOPOLOGIES[topology]
    rendered = helm.template(MINIMAL, values)
    policies = rendered.kinds("NetworkPolicy")
    for group in set(group_of.values()):
        spec = policies[f"dac-{group}"]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        callees = {
            group_of[other]
            for name, one in TARGETS.items()
            if group_of[name] == group
            for other in (*one.needs, *one.tells)
        } - {group}
        callers = {
            group_of[name]
            for name, one in TARGETS.items()
            for other in (*one.needs, *one.tells)
            if group_of[other] == group
        } - {group}
        assert peers_on(spec.get("ingress", []), MESH_PORT, "from") == sorted(callers)
        assert peers_on(spec["egress"], MESH_PORT, "to") == sorted(callees)
        opened = {one["port"] for rule in spec.get("ingress", []) for one in rule["ports"]}
        expected = ({8000, 50051} if group == group_of["gateway"] else set()) | ({50052} if callers else set())
        assert opened == expected
        reached = {one["port"] for rule in spec["egress"] for one in rule["ports"]}
        expected = {53, 5432} | ({50052} if callees else set()) | ({443} if group == group_of["provider"] else set())
        assert reached == expected
    selected = {component({"podSelector": one["spec"]["podSelector"]}) for one in policies.values()}
    labelled = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for one in rendered.objects
        if one["kind"] in ("Deployment", "Job")
    }
    assert selected == labelled | {"test"}


def test_the_metadata_service_is_out_of_reach(helm: Helm) -> None:
    policy = helm.template(MINIMAL).named("NetworkPolicy", "dac-edge")["spec"]
    (rule,) = [one for one in policy["egress"] if [p["port"] for p in one["ports"]] == [443]]
    (v4,) = [one["ipBlock"] for one in rule["to"] if one["ipBlock"]["cidr"] == "0.0.0.0/0"]
    assert {"169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(v4["except"])


def test_budget_reaches_whom_it_tells_of_thresholds_and_only_where_it_is_told_to(helm: Helm) -> None:
    def outside(budget: dict[str, Any], topology: str = "services") -> dict[int, Any]:
        values, group_of = TOPOLOGIES[topology]
        policy = helm.template(MINIMAL, values, {"config": {"budget": budget}}).named(
            "NetworkPolicy", f"dac-{group_of['budget']}"
        )
        return {one["ports"][0]["port"]: one.get("to", "anywhere") for one in policy["spec"]["egress"]}

    secret = {"alert_webhook_secret": {"env": "HOOK"}}
    assert {443, 8443, 587, 2525}.isdisjoint(outside({}))
    public = outside({"alert_webhook_url": "https://alerts.example.com/x", **secret})[443]
    assert "10.0.0.0/8" in public[0]["ipBlock"]["except"]
    private = {"alert_webhook_url": "http://hook.tools:8443/x", "alert_webhook_allow_private_address": True, **secret}
    assert outside(private)[8443] == "anywhere"
    assert outside({"smtp_host": "mail", "smtp_from": "a@b.example"})[587] == "anywhere"
    assert outside({"smtp_host": "mail", "smtp_from": "a@b.example", "smtp_port": 2525})[2525] == "anywhere"


def test_audit_reaches_its_witnesses_and_nobody_else(helm: Helm) -> None:
    def outside(audit: dict[str, Any]) -> list[int]:
        values, group_of = TOPOLOGIES["services"]
        policy = helm.template(MINIMAL, values, {"config": {"audit": audit}}).named(
            "NetworkPolicy", f"dac-{group_of['audit']}"
        )
        return [one["ports"][0]["port"] for one in policy["spec"]["egress"]]

    witnesses = ["https://w.example/one w.example/one+KEY", "http://10.0.0.7:8099 w.example/two+KEY"]
    assert {443, 8099}.isdisjoint(outside({}))
    assert {443, 8099} < set(outside({"witnesses": witnesses}))


def test_router_reaches_public_sources_only_where_it_is_told_to(helm: Helm) -> None:
    def outside(config: dict[str, Any]) -> dict[int, Any]:
        # Beside provider it is let out as provider is.
        values, group_of = TOPOLOGIES["separate"]
        policy = helm.template(MINIMAL, values, {"config": config}).named("NetworkPolicy", f"dac-{group_of['router']}")
        return {one["ports"][0]["port"]: one.get("to") for one in policy["spec"]["egress"]}

    for closed in ({}, {"router": {"sources": ["models_dev"]}}, {"router": {"offline": True}}):
        assert 443 not in outside(closed)
    assert "169.254.0.0/16" in outside({"router": {"offline": False}})[443][0]["ipBlock"]["except"]


def test_peers_of_values_reach_the_policies(helm: Helm) -> None:
    policy = helm.file(CHART / "ci" / "everything-values.yaml").named("NetworkPolicy", "coordinator-edge")["spec"]
    egress = {one["ports"][0]["port"]: one.get("to") for one in policy["egress"]}
    assert egress[6432] == [{"ipBlock": {"cidr": "10.1.2.0/24"}}]
    assert egress[6380] == [{"ipBlock": {"cidr": "10.1.3.0/24"}}]
    assert egress[4317] is None and 3128 in egress
    closed = helm.file(CHART / "ci" / "services-values.yaml").named("NetworkPolicy", "dac-edge")["spec"]
    (api,) = [one for one in closed["ingress"] if one["ports"][0]["port"] == 8000]
    assert "namespaceSelector" in api["from"][0] and component(api["from"][1]) == "test"


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_addresses_lead_to_pods_that_run_the_target(helm: Helm, topology: str) -> None:
    values, group_of = TOPOLOGIES[topology]
    rendered = helm.template(MINIMAL, values)
    services = rendered.kinds("Service")
    for name, deployment in rendered.kinds("Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        here = container["args"][1].removeprefix("--target=").split(",")
        assert here == [one for one in TARGETS if group_of[one] == group_of[here[0]]]
        wanted = {other for one in here for other in (*TARGETS[one].needs, *TARGETS[one].tells)} - set(here)
        pairs = dict(one.split("=", 1) for one in env_of(container).get("DAC_MESH_ADDRESSES", "").split(",") if one)
        assert set(pairs) == wanted, name
        for target, address in pairs.items():
            host, port = address.removeprefix("dns:///").split(":")
            assert address.startswith("dns:///") and int(port) == MESH_PORT
            service = services[host]["spec"]
            assert service["clusterIP"] == "None"
            assert service["selector"]["app.kubernetes.io/component"] == group_of[target]
    headless = {name for name in services if name.endswith("-headless")}
    assert len(headless) == len(
        {t for n, o in TARGETS.items() for t in (*o.needs, *o.tells) if group_of[n] != group_of[t]}
    )


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_container_is_locked_down(helm: Helm, values: Any) -> None:
    rendered = helm.file(values)
    for name, spec in pods(rendered):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] == 10001, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not spec.get("hostNetwork") and not spec.get("hostPID"), name
        for volume in spec["volumes"]:
            assert "hostPath" not in volume
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], name
    for name, container in containers(rendered):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        assert container["name"] == "envoy" or {"/var/lib/dac", "/tmp"} <= mounts, name


def test_openshift_may_choose_the_user(helm: Helm) -> None:
    chosen = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    for _, spec in pods(helm.template(MINIMAL, chosen)):
        assert set(spec["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


@pytest.mark.parametrize(("lame_duck_s", "drain_s"), [(0, 1), (10, 60), (45, 900)])
def test_pods_are_given_the_time_that_dac_takes(helm: Helm, lame_duck_s: int, drain_s: int) -> None:
    rendered = helm.template(MINIMAL, {"lameDuckSeconds": lame_duck_s, "drainSeconds": drain_s})
    for deployment in rendered.kinds("Deployment").values():
        spec = deployment["spec"]["template"]["spec"]
        env = env_of(spec["containers"][0])
        assert (env["DAC_MESH_LAME_DUCK_S"], env["DAC_MESH_DRAIN_S"]) == (str(lame_duck_s), str(drain_s))
        assert spec["terminationGracePeriodSeconds"] == lame_duck_s + drain_s + 10


def test_readiness_asks_for_work_and_liveness_for_the_process(helm: Helm) -> None:
    for name, deployment in helm.template(MINIMAL).kinds("Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        service = "" if name == "dac-edge" else name.removeprefix("dac-")
        assert container["readinessProbe"]["grpc"] == {"port": MESH_PORT, "service": service}
        assert container["startupProbe"]["grpc"] == {"port": MESH_PORT, "service": service}
        # An outage of the database must not restart every pod.
        assert container["livenessProbe"]["httpGet"] == {"port": "probe", "path": "/live"}
        start_s = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
        assert start_s > 60, "DAC itself waits a minute for the services that it needs"


def test_every_variable_is_one_that_dac_reads(helm: Helm) -> None:
    known = set(chart.variables()) | {"DAC_CONFIG"}
    for values in VALUES:
        for name, container in containers(helm.file(values)):
            used = {one for one in env_of(container) if one.startswith("DAC_") or one.endswith("_URL")}
            if container["name"] == "doctor":
                used -= {"DAC_BASE_URL", "DAC_API_KEY"}
            assert used <= known, name


def files_of(spec: dict[str, Any], container: dict[str, Any], made: dict[str, Any]) -> set[str]:
    """The files that volumes put into a container."""
    volumes = {one["name"]: one for one in spec["volumes"]}
    found = set()
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "secret" in volume:
            found |= {f"{mount['mountPath']}/{one['path']}" for one in volume["secret"].get("items", [])}
        if "configMap" in volume:
            found |= {f"{mount['mountPath']}/{name}" for name in made[volume["configMap"]["name"]]["data"]}
        if "emptyDir" in volume:
            found.add(mount["mountPath"])
    return found


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_files_that_variables_name_are_mounted(helm: Helm, values: Any) -> None:
    rendered = helm.file(values)
    made = rendered.kinds("ConfigMap")
    for name, spec in pods(rendered):
        for container in spec["containers"]:
            env, files = env_of(container), files_of(spec, container, made)
            if container["name"] == "envoy":
                assert "/etc/dac/envoy/envoy.yaml" in files
                continue
            assert env["DAC_DATA_DIR"] in files, name
            assert env.get("DAC_CONFIG", "/tmp") in files, name
            # Neither a migration nor the test opens the key, and the Job runs before it is made.
            assert (env["DAC_MASTER_KEY_FILE"] in files) == (container["name"] == "dac"), name


def test_the_file_of_config_is_what_the_values_say(helm: Helm) -> None:
    for values in VALUES:
        given = yaml.safe_load(values.read_text()).get("config")
        found = [
            yaml.safe_load(one["data"]["dac.yaml"])
            for one in helm.file(values).kinds("ConfigMap").values()
            if "dac.yaml" in one["data"]
        ]
        assert all(one == given for one in found) and bool(found) == bool(given), values.name


def test_a_new_version_of_the_chart_alone_restarts_no_pod(helm: Helm) -> None:
    for values in VALUES:
        for one in helm.file(values).objects:
            if one["kind"] == "Deployment":
                text = json.dumps(one["spec"]["template"]["metadata"])
                assert "helm.sh/chart" not in text and "app.kubernetes.io/version" not in text
