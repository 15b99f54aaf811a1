"""Values that cannot work are refused, each with a sentence that names the key."""

from typing import Any

import pytest
import yaml

from tests.deploy.helm_binary import CHART, MINIMAL, Helm

pytestmark = pytest.mark.timeout(180)

PROMETHEUS = "http://prometheus:9090"
ROUTE: dict[str, Any] = {"enabled": True, "parentRefs": [{"name": "public"}]}

COMBINATIONS: list[tuple[dict[str, Any], str]] = [
    ({"database": {"existingSecret": ""}}, "database.existingSecret is empty: DAC needs a PostgreSQL"),
    ({"cloudnativepg": {"enabled": True}}, "database.existingSecret and cloudnativepg.enabled are both set"),
    (
        {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "prometheusAddress": PROMETHEUS}},
        "autoscaling.enabled and keda.enabled are both set",
    ),
    ({"keda": {"enabled": True}}, "keda.prometheusAddress is empty"),
    (
        {"keda": {"enabled": True, "prometheusAddress": PROMETHEUS, "minReplicas": 9, "maxReplicas": 3}},
        "keda.minReplicas is above keda.maxReplicas",
    ),
    ({"autoscaling": {"enabled": True, "minReplicas": 11}}, "autoscaling.minReplicas is above autoscaling.maxReplicas"),
    (
        {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}},
        "autoscaling.targetCPUUtilizationPercentage is 0 and there is no other measure",
    ),
    (
        {"groups": {"budget": {"autoscaling": {"enabled": True}, "resources": {"limits": {"memory": "1Gi"}}}}},
        "groups.budget.autoscaling.enabled scales the group budget by CPU, but its resources.requests.cpu is not set",
    ),
    (
        {"groups": {"memory": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}}},
        "groups.memory.autoscaling.targetCPUUtilizationPercentage is 0",
    ),
    (
        {"groups": {"gateway": {"replicaCount": 2}}},
        "groups.gateway has no pods with mode services and edge.colocate true",
    ),
    ({"mode": "all", "groups": {"edge": {"replicaCount": 2}}}, "groups.edge has no pods with mode all"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty"),
    ({"grpcRoute": {"enabled": True}}, "grpcRoute.parentRefs is empty"),
    ({"httpRoute": {**ROUTE, "timeout": "5m"}}, "httpRoute.timeout is 5m, and config.gateway.request_timeout_s allows"),
    (
        {"httpRoute": ROUTE, "config": {"gateway": {"request_timeout_s": 900}}},
        "httpRoute.timeout is 660s, and config.gateway.request_timeout_s allows answers of 900 s",
    ),
    (
        {"envoy": {"enabled": True}, "config": {"gateway": {"max_body_bytes": 20971520}}},
        "config.gateway.max_body_bytes is 20971520, and the Envoy of envoy.enabled allows 10485760",
    ),
    ({"ingress": {"enabled": True}}, "ingress.hosts is empty"),
    ({"canary": {"enabled": True}, "httpRoute": ROUTE}, "canary.image.tag is empty"),
    ({"canary": {"enabled": True, "image": {"tag": "2"}}}, "canary.enabled needs httpRoute.enabled"),
    (
        {"canary": {"enabled": True, "flagger": {"enabled": True}}, "httpRoute": ROUTE},
        "canary.enabled and canary.flagger.enabled are both set",
    ),
    ({"canary": {"flagger": {"enabled": True}}}, "canary.flagger.enabled needs httpRoute.enabled"),
    (
        {"canary": {"flagger": {"enabled": True}}, "httpRoute": ROUTE},
        "canary.flagger.prometheusAddress is empty",
    ),
    (
        {
            "mode": "all",
            "canary": {"flagger": {"enabled": True, "prometheusAddress": PROMETHEUS}},
            "httpRoute": ROUTE,
            "autoscaling": {"enabled": True},
        },
        "canary.flagger.enabled needs mode services",
    ),
    (
        {"canary": {"flagger": {"enabled": True, "prometheusAddress": PROMETHEUS}}, "httpRoute": ROUTE},
        "canary.flagger.enabled needs autoscaling.enabled or keda.enabled",
    ),
    ({"config": {"mesh": {"drain_s": 5}}}, "config.mesh.drain_s is set by the chart: drainSeconds"),
    (
        {"config": {"gateway": {"bootstrap_api_key": "dac_live_x"}}},
        "config.gateway.bootstrap_api_key is set by the chart: bootstrapKey.existingSecret",
    ),
    ({"config": {"gateway": {"auth": "off"}}}, "config.gateway.auth is set by the chart"),
    (
        {"extraEnv": [{"name": "DATABASE_URL", "value": "postgresql://x"}]},
        "extraEnv: DATABASE_URL is set by the chart: database.existingSecret",
    ),
    (
        {"extraEnv": [{"name": "DAC_ROUTER_MAX_CANDIDATE", "value": "3"}]},
        "DAC knows no variable DAC_ROUTER_MAX_CANDIDATE",
    ),
    (
        {"groups": {"audit": {"extraEnv": [{"name": "DAC_AUDIT_LIMIT", "value": "3"}]}}},
        "groups.audit.extraEnv: DAC knows no variable DAC_AUDIT_LIMIT",
    ),
]
"""Values, and what the templates say of them."""

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": "two"}, "/replicaCount"),
    ({"replicaCount": -1}, "/replicaCount"),
    ({"mode": "split"}, "/mode"),
    ({"drainSeconds": 0}, "/drainSeconds"),
    ({"logLevel": "verbose"}, "/logLevel"),
    ({"image": {"digest": "sha256:123"}}, "/image/digest"),
    ({"image": {"repository": "dac:latest"}}, "/image/repository"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"databse": {}}, "databse"),
    ({"database": {"existingSecrets": "x"}}, "existingSecrets"),
    ({"database": {"existingSecret": "Not A Name"}}, "/database/existingSecret"),
    ({"service": {"httpPort": 70000}}, "/service/httpPort"),
    ({"service": {"type": "Public"}}, "/service/type"),
    ({"otlp": {"endpoint": "collector:4317"}}, "/otlp/endpoint"),
    ({"canary": {"weight": 101}}, "/canary/weight"),
    ({"groups": {"edgy": {}}}, "edgy"),
    ({"groups": {"edge": {"replicas": 2}}}, "replicas"),
    ({"networkPolicy": {"providers": {"ports": ["https"]}}}, "/networkPolicy/providers/ports/0"),
    ({"config": {"gateway": {"request_timeout": 3}}}, "request_timeout"),
    ({"config": {"budget": {"sweep_limit": "many"}}}, "/config/budget/sweep_limit"),
    ({"config": {"providers": {"openai": {"api_key": "sk-plain"}}}}, "/config/providers/openai/api_key"),
    ({"config": {"providers": {"mine": {"kind": "not a name"}}}}, "/config/providers/mine/kind"),
    ({"config": {"models": [{"id": "a/b"}]}}, "/config/models/0"),
    ({"extraEnv": [{"value": "3"}]}, "/extraEnv/0"),
    ({"extraEnv": [{"name": "OTEL_BSP_SCHEDULE_DELAY", "value": 3}]}, "/extraEnv/0/value"),
    ({"dataDir": {"sizeLimit": "large"}}, "/dataDir/sizeLimit"),
    ({"httpRoute": {"timeout": 60}}, "/httpRoute/timeout"),
]
"""Values, and the place that the schema names."""

REMOVED: dict[str, str] = yaml.safe_load((CHART / "files" / "removed.yaml").read_text())


@pytest.mark.parametrize(("values", "sentence"), COMBINATIONS, ids=lambda one: one if isinstance(one, str) else "")
def test_what_cannot_work_together_is_refused(helm: Helm, values: dict[str, Any], sentence: str) -> None:
    done = helm.template(MINIMAL, values)
    assert done.code != 0 and done.text == "", "nothing is rendered by half"
    assert sentence in done.error


@pytest.mark.parametrize(("values", "place"), WRONG, ids=lambda one: one if isinstance(one, str) else "")
def test_a_wrong_value_is_named(helm: Helm, values: dict[str, Any], place: str) -> None:
    done = helm.template(MINIMAL, values)
    assert done.code != 0 and done.text == ""
    assert place in done.error


@pytest.mark.parametrize("path", REMOVED)
def test_a_key_of_other_charts_is_answered_with_this_ones(helm: Helm, path: str) -> None:
    value: Any = {"anything": 1}
    for name in reversed(path.split(".")):
        value = {name: value}
    done = helm.template(MINIMAL, value)
    assert done.code != 0
    assert f"{path} is not a value of this chart: {REMOVED[path]}." in done.error


def test_an_old_kubernetes_is_refused(helm: Helm) -> None:
    done = helm.template(MINIMAL, flags=("--kube-version", "1.28.0"))
    assert done.code != 0 and "1.29" in done.error
