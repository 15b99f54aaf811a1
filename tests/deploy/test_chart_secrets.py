"""Where secrets go and how they outlive upgrades; the migration Job has what the services have, and nothing late."""

import http.server
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from services.gateway.identity.key_tokens import check_strength
from tests.deploy.helm_binary import CHART, MINIMAL, VALUES, Helm, Rendered, containers, env_of, pods

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_job_migrates_the_database_that_services_use(helm: Helm, values: Any) -> None:
    rendered = helm.file(values)
    (job,) = rendered.kinds("Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    migrating = env_of(container)
    owner = migrating.pop("DATABASE_OWNER_URL", None)
    for name, other in containers(rendered):
        if other["name"] not in ("dac", "doctor"):
            continue
        env = env_of(other)
        # The owner's login is for migrations alone; everything else is word for word the same.
        assert "DATABASE_OWNER_URL" not in env, name
        same = {key: value for key, value in migrating.items() if other["name"] == "dac" or key in env}
        assert {key: env.get(key) for key in same} == same, name
        assert env["DATABASE_URL"] == migrating["DATABASE_URL"]
    given = yaml.safe_load(values.read_text())
    assert bool(owner) == bool(given.get("database", {}).get("ownerUrlKey"))


def test_the_job_needs_nothing_that_comes_after_it(helm: Helm) -> None:
    for values in VALUES:
        rendered = helm.file(values)
        (job,) = rendered.kinds("Job").values()
        spec, notes = job["spec"]["template"]["spec"], job["metadata"].get("annotations", {})
        hooks = {
            (one["kind"], one["metadata"]["name"]): int(one["metadata"]["annotations"]["helm.sh/hook-weight"])
            for one in rendered.objects
            if "helm.sh/hook-weight" in one["metadata"].get("annotations", {}) and one["kind"] != "NetworkPolicy"
        }
        made = {(one["kind"], one["metadata"]["name"]) for one in rendered.objects}
        if "cnpg" in values.name:
            assert "helm.sh/hook" not in notes and job["metadata"]["name"].endswith("-1")
            continue
        assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert notes["argocd.argoproj.io/hook"] == "PreSync"
        weight = hooks["Job", job["metadata"]["name"]]
        for needed in references(spec):
            if needed in made:
                assert hooks[needed] < weight, f"{values.name}: the Job runs before {needed} is there"


def references(spec: dict[str, Any]) -> set[tuple[str, str]]:
    """(kind, name) of what a pod cannot start without."""
    found = {("ServiceAccount", spec["serviceAccountName"])} if "serviceAccountName" in spec else set()
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"]))
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        for one in container.get("env", []):
            if "secretKeyRef" in one.get("valueFrom", {}):
                found.add(("Secret", one["valueFrom"]["secretKeyRef"]["name"]))
        for one in container.get("envFrom", []):
            kind = "Secret" if "secretRef" in one else "ConfigMap"
            found.add((kind, one.get("secretRef", one.get("configMapRef"))["name"]))
    return found


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_what_pods_refer_to_is_made_or_named_by_values(helm: Helm, values: Any) -> None:
    rendered, written = helm.file(values), values.read_text()
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered.objects}
    database = {("Secret", f"{name}-app") for kind, name in made if kind == "Cluster"}
    certificates = {("Secret", one["spec"]["secretName"]) for one in rendered.objects if one["kind"] == "Certificate"}
    for name, spec in pods(rendered):
        for kind, needed in references(spec) - made - database - certificates:
            assert re.search(rf"\b{re.escape(needed)}\b", written), f"{name} needs {kind}/{needed}, which nobody makes"


SECRET_VARIABLES = {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "DAC_BOOTSTRAP_API_KEY", "DAC_OPERATOR_TOKEN"}


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_secrets_stand_in_secrets_only(helm: Helm, values: Any) -> None:
    rendered = helm.file(values)
    secrets = [
        b64decode(value).decode() for one in rendered.kinds("Secret").values() for value in one.get("data", {}).values()
    ]
    for one in rendered.objects:
        if one["kind"] != "Secret":
            text = json.dumps(one)
            assert not [secret for secret in secrets if secret in text], one["metadata"]["name"]
            assert not re.search(r"sk-[A-Za-z0-9]{8}|dac_live_|dac_operator_|postgresql://", text)
    for name, container in containers(rendered):
        for variable, value in env_of(container).items():
            if variable in SECRET_VARIABLES or variable == "DAC_API_KEY":
                assert "secretKeyRef" in value, f"{name}: {variable} is written out"


def test_a_pod_gets_only_the_secrets_of_its_targets(helm: Helm) -> None:
    rendered = helm.file(CHART / "ci" / "separate-values.yaml")
    for name, container in containers(rendered):
        if container["name"] != "dac":
            continue
        env, target = env_of(container), name.split("/")[1].removeprefix("dac-")
        assert ("DAC_BOOTSTRAP_API_KEY" in env) == (target == "gateway"), name
        assert ("DAC_OPERATOR_TOKEN" in env) == (target == "gateway"), name
        sources = [one["secretRef"]["name"] for one in container.get("envFrom", [])]
        assert sources == (["dac-provider-keys"] if target == "provider" else []), name


def made_keys(rendered: Rendered) -> dict[str, str]:
    """What the chart made."""
    secret = rendered.named("Secret", "dac-keys")
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    return {key: b64decode(value).decode() for key, value in secret["data"].items()}


def test_made_keys_have_the_form_that_dac_takes_and_are_new_each_time(helm: Helm) -> None:
    first, second = made_keys(helm.template(MINIMAL)), made_keys(helm.template(MINIMAL))
    assert set(first) == {"master.key", "bootstrap-api-key", "operator-token"}
    assert len(bytes.fromhex(first["master.key"])) == 32
    check_strength(first["bootstrap-api-key"], "DAC_BOOTSTRAP_API_KEY")
    check_strength(first["operator-token"], "DAC_OPERATOR_TOKEN")
    assert not set(first.values()) & set(second.values())


def test_what_the_operator_brings_is_not_made(helm: Helm) -> None:
    assert helm.file(CHART / "ci" / "services-values.yaml").kinds("Secret") == {}
    some = made_keys(helm.template(MINIMAL, {"masterKey": {"existingSecret": "mine", "key": "k"}}))
    assert set(some) == {"bootstrap-api-key", "operator-token"}


KINDS = {
    "v1": ("Secret", "Service", "ServiceAccount", "ConfigMap", "Pod"),
    "apps/v1": ("Deployment",),
    "batch/v1": ("Job",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
}
"""What the cluster below knows."""


def plural(kind: str) -> str:
    """A kind's name in addresses."""
    return (kind[:-1] + "ies" if kind.endswith("y") else kind + "s").lower()


@contextmanager
def cluster(secrets: list[dict[str, Any]]) -> Iterator[str]:
    """As much of a Kubernetes API server as helm's `lookup` asks; yields its address."""
    by_path: dict[str, Any] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": name.split("/")[0], "versions": [{"groupVersion": name, "version": "v1"}]}
                for name in KINDS
                if "/" in name
            ],
        },
        **{
            f"/apis/{name}" if "/" in name else f"/api/{name}": {
                "kind": "APIResourceList",
                "groupVersion": name,
                "resources": [
                    {"name": plural(kind), "namespaced": True, "kind": kind, "verbs": ["get", "list"]} for kind in kinds
                ],
            }
            for name, kinds in KINDS.items()
        },
        "/api/v1/namespaces/ai/secrets": {"kind": "SecretList", "apiVersion": "v1", "items": secrets},
        **{f"/api/v1/namespaces/ai/secrets/{one['metadata']['name']}": one for one in secrets},
    }
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = by_path.get(self.path.split("?")[0])
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    """A Secret as an API server shows it; values are base64 already."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "ai"}, "data": data}


def upgrade(helm: Helm, secrets: list[dict[str, Any]], *values: dict[str, Any]) -> Rendered:
    """An upgrade in a cluster that has these Secrets."""
    with cluster(secrets) as address:
        flags = ("--is-upgrade", "--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", address)
        return helm.template(MINIMAL, *values, flags=(*flags, "-s", "templates/secret.yaml"))


def test_an_upgrade_keeps_the_keys(helm: Helm) -> None:
    kept = {"master.key": "b25l", "bootstrap-api-key": "dHdv", "operator-token": "dGhyZWU="}
    assert upgrade(helm, [secret("dac-keys", kept)]).named("Secret", "dac-keys")["data"] == kept
    # A key that is new in this version is made beside the old ones.
    del kept["operator-token"]
    data = upgrade(helm, [secret("dac-keys", kept)]).named("Secret", "dac-keys")["data"]
    assert data.items() > kept.items() and check_strength(b64decode(data["operator-token"]).decode(), "x")


def test_an_upgrade_without_the_master_key_is_refused(helm: Helm) -> None:
    release = secret("sh.helm.release.v1.dac.v1", {"release": "eA=="})
    done = upgrade(helm, [release])
    assert done.code != 0 and "The Secret dac-keys with the master key is gone" in done.error
    assert upgrade(helm, [release], {"masterKey": {"existingSecret": "mine"}}).code == 0
