"""How groups grow, what a canary gets, what is scraped, what Helm says after an install."""

import copy
import json
import re

import pytest

from mesh import chart, telemetry
from tests.deploy.helm_binary import CHART, MINIMAL, Helm

pytestmark = pytest.mark.timeout(180)


def test_budgets_for_disruption_only_where_a_pod_can_go(helm: Helm) -> None:
    assert set(helm.template(MINIMAL).kinds("PodDisruptionBudget")) == {
        "dac-edge",
        "dac-budget",
        "dac-audit",
        "dac-memory",
    }
    one = helm.template(MINIMAL, {"replicaCount": 1, "groups": {"budget": {"replicaCount": 2}}})
    (budget,) = one.kinds("PodDisruptionBudget").values()
    assert budget["metadata"]["name"] == "dac-budget" and budget["spec"]["maxUnavailable"] == 1
    scaled = helm.template(MINIMAL, {"replicaCount": 1, "autoscaling": {"enabled": True, "minReplicas": 2}})
    assert set(scaled.kinds("PodDisruptionBudget")) == {"dac-edge"}


def test_what_scales_a_group_owns_its_size(helm: Helm) -> None:
    hpa = helm.template(MINIMAL, {"autoscaling": {"enabled": True, "targetActiveStreams": 40}})
    (scaler,) = hpa.kinds("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] == "dac-edge"
    cpu, streams = scaler["spec"]["metrics"]
    assert cpu["resource"]["target"]["averageUtilization"] == 70
    assert streams["pods"]["metric"]["name"] in exported_names()
    keda = helm.template(MINIMAL, {"keda": {"enabled": True, "prometheusAddress": "http://prometheus:9090"}})
    (scaled,) = keda.kinds("ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    assert re.match(r"sum\((\w+)\{", trigger["metadata"]["query"])[1] in exported_names()  # type: ignore[index]
    assert keda.kinds("HorizontalPodAutoscaler") == {}
    for rendered in (hpa, keda):
        sizes = {name: one["spec"].get("replicas") for name, one in rendered.kinds("Deployment").items()}
        assert sizes == {"dac-edge": None, "dac-budget": 2, "dac-audit": 2, "dac-memory": 2}


def exported_names() -> set[str]:
    """The names of DAC's metrics."""
    return {
        sample
        for family in telemetry.REGISTRY.collect()
        for sample in (family.name, *([f"{family.name}_total"] if family.type == "counter" else []))
    }


def test_groups_fall_back_to_what_stands_beside_them(helm: Helm) -> None:
    rendered = helm.file(CHART / "ci" / "services-values.yaml")
    budget = rendered.named("Deployment", "dac-budget")["spec"]
    assert budget["replicas"] == 3
    assert budget["template"]["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "256Mi"}
    memory = rendered.named("Deployment", "dac-memory")["spec"]
    assert memory["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert rendered.named("Deployment", "dac-audit")["spec"]["replicas"] == 1


def test_a_canary_gets_its_share_and_nothing_else_changes(helm: Helm) -> None:
    rendered = helm.file(CHART / "ci" / "everything-values.yaml")
    for kind in ("HTTPRoute", "GRPCRoute"):
        (route,) = rendered.kinds(kind).values()
        backends = {one["name"]: one["weight"] for one in route["spec"]["rules"][0]["backendRefs"]}
        assert backends == {"coordinator": 90, "coordinator-canary": 10}
    stable = rendered.named("Deployment", "coordinator-edge")["spec"]
    canary = rendered.named("Deployment", "coordinator-edge-canary")["spec"]
    assert canary["template"]["spec"]["containers"][0]["image"] == "registry.example.com:5000/ai/dac:0.2.0"
    assert canary["replicas"] == 1 and "replicas" not in stable
    same = copy.deepcopy(canary["template"]["spec"])
    same["containers"][0]["image"] = stable["template"]["spec"]["containers"][0]["image"]
    assert stable["template"]["spec"] == same
    # Neither Deployment nor Service takes the other's pods.
    services = rendered.kinds("Service")
    labels = {"": stable["template"]["metadata"]["labels"], "-canary": canary["template"]["metadata"]["labels"]}
    for suffix in labels:
        selector = services[f"coordinator{suffix}"]["spec"]["selector"].items()
        assert [other for other in labels if labels[other].items() >= selector] == [suffix]
    assert stable["selector"]["matchLabels"]["app"] != canary["selector"]["matchLabels"]["app"]


def test_flagger_rolls_back_on_errors_that_dac_counts(helm: Helm) -> None:
    rendered = helm.file(CHART / "ci" / "flagger-values.yaml")
    canary, template = rendered.named("Canary", "dac-edge"), rendered.named("MetricTemplate", "dac-edge-errors")
    (metric,) = canary["spec"]["analysis"]["metrics"]
    assert metric["templateRef"]["name"] == template["metadata"]["name"] and metric["thresholdRange"] == {"max": 1}
    query = template["spec"]["query"]
    assert set(re.findall(r"\b(\w+)\{", query)) == {"http_requests_total"} <= exported_names()
    labels = set(re.findall(r"(\w+)=", query))
    assert labels - {"namespace", "pod"} <= set(telemetry.HTTP_REQUESTS._labelnames)
    assert "{{ target }}-" in query and "[{{ interval }}]" in query
    # Flagger makes these itself, and takes the HPA along.
    assert "dac" not in rendered.kinds("Service") and rendered.kinds("HTTPRoute") == {}
    assert canary["spec"]["service"]["name"] == "dac" and canary["spec"]["autoscalerRef"]["name"] == "dac-edge"
    assert rendered.named("Deployment", "dac-edge")["spec"]["selector"]["matchLabels"]["app"] == "dac-edge"


def test_an_alert_watches_the_canary(helm: Helm) -> None:
    rules = helm.file(CHART / "ci" / "everything-values.yaml").kinds("PrometheusRule")
    (rule,) = rules["coordinator-canary"]["spec"]["groups"][0]["rules"]
    assert set(re.findall(r"\b(\w+)\{", rule["expr"])) == {"http_requests_total"}
    assert 'pod=~"coordinator-edge-canary-.+"' in rule["expr"] and 'namespace="ai"' in rule["expr"]
    assert rule["annotations"]["summary"].startswith("{{ $value |")
    assert "coordinator-rules" in rules, "DAC's own alerts are there too"


def test_every_pod_is_scraped_once(helm: Helm) -> None:
    rendered = helm.file(CHART / "ci" / "flagger-values.yaml")
    (monitor,) = rendered.kinds("ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    chosen = [one for one in rendered.kinds("Service").values() if one["metadata"]["labels"].items() >= wanted]
    components = sorted(one["spec"]["selector"]["app.kubernetes.io/component"] for one in chosen)
    assert components == ["audit", "budget", "edge", "memory"]
    for one in chosen:
        assert one["spec"]["ports"] == [{"name": "probe", "port": chart.PROBE_PORT, "targetPort": "probe"}]


def test_notes_say_a_curl_that_names_what_is_there(helm: Helm) -> None:
    done = helm.run("install", "dac", str(CHART), "-n", "ai", "--dry-run=client", "--set", "database.existingSecret=db")
    notes = done.text.split("NOTES:")[1]
    assert "port-forward service/dac 8000:8000" in notes and "get secret dac-keys" in notes
    assert '{{index .data "bootstrap-api-key" | base64decode}}' in notes
    body = json.loads(re.search(r"-d '(.*)'", notes)[1])  # type: ignore[index]
    assert body["model"] == "auto" and "authorization: Bearer $DAC_API_KEY" in notes
