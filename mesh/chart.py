"""What the Helm chart takes from the code: the table of targets, variables, and the schema of `config:`.

Run as `python -m mesh.chart deploy/helm/dac [--check]`. It writes `files/mesh.yaml`, which the templates read;
`values.schema.json`: `values.schema.yaml` (written by hand) with the configuration's sections, the names that were
removed, and the comments of values.yaml as descriptions; and copies of the boards and rules beside the chart, because
Helm reads no file outside of one.
"""

import dataclasses
import json
import pathlib
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from mesh.app import ROOT, TARGETS, load_settings
from mesh.catalog import MOST_PRIORITY, MOST_WEIGHT, ProviderEntry
from mesh.config import MeshConfig, Secret, env_name, field_docs
from mesh.configuration_page import DEPLOYMENT_FIELDS, MODEL_FIELDS, PROVIDER_FIELDS
from mesh.envoy.edge import PROBE_PORT as ENVOY_PROBE_PORT
from mesh.envoy.edge import TLS_PORT
from mesh.envoy.groups import EGRESS_PORT, MESH_PORT, MUTUAL_PORT
from mesh.freshness import bring_up_to_date
from mesh.known_providers import DIALECTS, KNOWN
from mesh.migrate import EXTENSION_NAMES, EXTENSIONS
from mesh.model_prices import PRICE_KEYS

PROBE_PORT = 9464

OWNED: Mapping[str, str] = {
    "mesh.data_dir": "the chart mounts it",
    "mesh.database_url": "database.existingSecret",
    "mesh.database_owner_url": "database.existingSecret and database.ownerUrlKey",
    "mesh.database_backup_url": "backups are made where `dac backup` runs, not in these pods",
    "mesh.redis_url": "redis.existingSecret",
    "mesh.master_key_file": "masterKey.existingSecret",
    "mesh.otlp_endpoint": "otlp.endpoint",
    "mesh.log_level": "logLevel",
    "mesh.log_format": "pods write JSON",
    "mesh.listen": "the chart computes it",
    "mesh.addresses": "the chart computes it",
    "mesh.embedded_postgres_dir": "a cluster has no embedded database",
    "mesh.probe_host": "the chart computes it",
    "mesh.probe_port": "the chart computes it",
    "mesh.lame_duck_s": "lameDuckSeconds",
    "mesh.drain_s": "drainSeconds",
    "memory.encrypt_text": "encryptText",
    "audit.seal_payloads": "sealPayloads",
    "gateway.http_host": "the chart computes it",
    "gateway.http_port": "service.httpPort is what callers see",
    "gateway.grpc_host": "the chart computes it",
    "gateway.grpc_port": "service.grpcPort is what callers see",
    "gateway.reuse_port": "one process runs in a pod",
    "gateway.auth": "a cluster's callers need keys",
    "gateway.bootstrap_api_key": "bootstrapKey.existingSecret",
    "gateway.bootstrap_result_file": "bootstrapKey.existingSecret",
    "gateway.operator_token": "operatorToken.existingSecret",
}
"""Fields that the chart sets itself → the value to use instead."""

MODEL_TYPES: Mapping[str, dict[str, Any]] = {
    "context_tokens": {"type": "integer", "minimum": 1},
    "max_output_tokens": {"type": "integer", "minimum": 0},
    "quality": {"type": "number", "minimum": 0, "maximum": 1},
    "speed_tokens_per_s": {"type": "number"},
    "first_token_ms": {"type": "number"},
    "capabilities": {"type": "array", "items": {"type": "string"}},
    "fallbacks": {"type": "array", "items": {"type": "string"}},
    "deployments": {"type": "array", "minItems": 1},
    "identities": {"type": "object", "additionalProperties": {"type": "string"}},
    "retires_on": {"type": "string", "format": "date"},
}
DEPLOYMENT_TYPES: Mapping[str, dict[str, Any]] = {
    "provider": {"type": "string"},
    "name": {"type": "string"},
    "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_WEIGHT},
    "priority": {"type": "integer", "minimum": 0, "maximum": MOST_PRIORITY},
    "price": {},
}
LIMITS = ("request_timeout_s", "max_body_bytes")
"""Settings of the gateway that whatever stands in front of it must not undercut."""
COPIED = {"grafana": "*.json", "prometheus": "*.yaml"}
"""Folder in deploy/ and in the chart's files/ → what is copied."""
_KEY = re.compile(r"^( *)([A-Za-z][\w.-]*):")
_SECRET = {
    "type": "object",
    "description": "{env: NAME} or {file: PATH}: this file becomes a ConfigMap, so no secret may stand in it.",
    "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}


def sections() -> dict[str, type[Any]]:
    """Section of the configuration → its dataclass."""
    return {"mesh": MeshConfig, **{name: target.config_class() for name, target in TARGETS.items()}}


def variables() -> dict[str, str]:
    """Variable → its field, for every field of the configuration."""
    return {
        env_name(name, field): f"{name}.{field.name}"
        for name, cls in sections().items()
        for field in dataclasses.fields(cls)
    }


def facts() -> dict[str, Any]:
    """What the templates need to know of the mesh."""
    known = variables()
    return {
        "targets": [
            {
                "name": one.name,
                "needs": list(one.needs),
                "tells": list(one.tells),
                "edge": one.edge,
            }
            for one in TARGETS.values()
        ],
        "ports": {
            "http": sections()["gateway"].http_port,
            "grpc": sections()["gateway"].grpc_port,
            "mesh": MESH_PORT,
            "probe": PROBE_PORT,
            "sidecar": MUTUAL_PORT,
            "sidecarEgress": EGRESS_PORT,
            "envoyEdge": TLS_PORT,
            "envoyProbe": ENVOY_PROBE_PORT,
        },
        "owned": {variable: OWNED[field] for variable, field in known.items() if field in OWNED},
        "ownedFields": dict(OWNED),
        "variables": sorted(name for name in known if name.startswith("DAC_")),
        "providerVariables": sorted({name for one in KNOWN.values() for name in (one.env, one.address_env) if name}),
        "limits": {name: getattr(load_settings(env={}).services["gateway"], name) for name in LIMITS},
        "extensions": {"schema": EXTENSIONS, "names": list(EXTENSION_NAMES)},
    }


def type_schema(kind: Any) -> dict[str, Any]:
    """A field's type as JSON schema."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return type_schema(next(one for one in typing.get_args(kind) if one is not type(None)))
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": type_schema(typing.get_args(kind)[0])}
    if kind is Secret:
        return dict(_SECRET)
    return {"type": {bool: "boolean", int: "integer", float: "number"}.get(kind, "string")}


def section_schema(name: str, cls: type[Any]) -> dict[str, Any]:
    """One section. What the chart sets itself stays open here, so that a template can say what to use instead."""
    hints, docs, properties = typing.get_type_hints(cls), field_docs(cls), {}
    for field in dataclasses.fields(cls):
        owner = OWNED.get(f"{name}.{field.name}")
        if owner is not None:
            properties[field.name] = {"description": f"Not set here: {owner}."}
        else:
            properties[field.name] = {"description": docs.get(field.name, ""), **type_schema(hints[field.name])}
    return _closed(" ".join((cls.__doc__ or "").split()), properties)


def config_schema() -> dict[str, Any]:
    """The schema of `config:`, DAC's own configuration file."""
    hints = typing.get_type_hints(ProviderEntry)
    provider = {name: {"description": text, **type_schema(hints[name])} for name, text in PROVIDER_FIELDS.items()}
    # No list: a plug-in in the image may offer more. DAC itself says at its start which there are.
    provider["kind"]["pattern"] = "^[a-z0-9][a-z0-9-]{0,62}$"
    provider["dialect"]["enum"] = list(DIALECTS)
    model = {key: {"description": text, **MODEL_TYPES.get(key, {})} for key, text in MODEL_FIELDS.values()}
    for key in ("id", "provider", "name", "class"):
        model[key]["type"] = "string"
    model["sticky"]["type"] = "boolean"
    model["price"]["$ref"] = "#/definitions/price"
    deployment = {key: {"description": text, **DEPLOYMENT_TYPES[key]} for key, text in DEPLOYMENT_FIELDS.items()}
    deployment["price"]["$ref"] = "#/definitions/price"
    model["deployments"]["items"] = {**_closed("An endpoint.", deployment), "required": ["provider"]}
    properties = {name: section_schema(name, cls) for name, cls in sections().items()}
    properties["providers"] = {
        "type": "object",
        "description": "Providers by name.",
        "additionalProperties": _closed("A provider.", provider),
    }
    properties["models"] = {
        "type": "array",
        "description": "Models, added to the shipped catalog.",
        "items": {
            **_closed("A model.", model),
            "required": ["id", "context_tokens"],
            "anyOf": [{"required": ["provider"]}, {"required": ["deployments"]}],
        },
    }
    properties["aliases"] = {
        "type": "object",
        "description": "Other names for models: name to model id.",
        "additionalProperties": {"type": "string"},
    }
    properties["policies"] = {
        "type": "object",
        "description": "Routing policies by name (docs/policies.md).",
        "additionalProperties": {"type": ["object", "null"]},
    }
    properties["tenants"] = {
        "type": "object",
        "description": "What holds for organisations, by id or name (docs/policies.md).",
        "additionalProperties": {"type": ["object", "string"]},
    }
    return _closed("DAC's own configuration file (docs/configuration.md).", properties)


def price_definitions() -> dict[str, Any]:
    """What `price:` may be, in parts that refer to each other."""
    amounts: dict[str, Any] = {key: {"type": ["string", "number"]} for key in PRICE_KEYS}
    above = {
        "type": "object",
        "description": "By the length of the prompt in tokens.",
        "patternProperties": {"^[1-9][0-9]*$": {"$ref": "#/definitions/amounts"}},
        "additionalProperties": False,
    }
    tier = [{"type": ["number", "string"]}, _closed("Dollars.", {**amounts, "above": above})]
    tiers = {"type": "object", "description": "By a provider's word.", "additionalProperties": {"anyOf": tier}}
    whole = {**amounts, "above": above, "service_tiers": tiers, "free": {"const": True}}
    dated = {"type": "array", "minItems": 1, "items": _closed("Dollars.", {**whole, "from": {"type": "string"}})}
    price = {"anyOf": [{"const": "free"}, _closed("Dollars.", whole), dated]}
    return {"amounts": _closed("Dollars.", amounts), "price": price}


def _closed(description: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "additionalProperties": False,
    }


def value_comments(text: str) -> dict[str, str]:
    """`# --` comments of a values file: dotted path → what it says."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    gathered: list[str] = []
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("# --"):
            gathered = [words[4:].strip()]
        elif words.startswith("#") and gathered:
            gathered.append(words[1:].strip())
        elif match := _KEY.match(line):
            indent = len(match[1])
            path = [*(one for one in path if one[0] < indent), (indent, match[2])]
            if gathered:
                found[".".join(name for _, name in path)] = " ".join(gathered)
            gathered = []
        else:
            gathered = []
    return found


def values_schema(chart: pathlib.Path) -> dict[str, Any]:
    """The whole values.schema.json."""
    # By way of JSON, so that what YAML anchors share becomes separate.
    schema: dict[str, Any] = json.loads(json.dumps(yaml.safe_load((chart / "values.schema.yaml").read_text())))
    schema["properties"]["config"] = config_schema()
    schema["definitions"] |= price_definitions()
    for name in TARGETS:
        schema["properties"]["groups"]["properties"][name] = {"$ref": "#/definitions/group"}
    for path, text in value_comments((chart / "values.yaml").read_text()).items():
        node = _node(schema, path)
        if node is not None:
            node["description"] = text
    removed = yaml.safe_load((chart / "files" / "removed.yaml").read_text())
    for path, text in removed.items():
        _allow(schema, path.split("."), text)
    return schema


def _node(schema: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    found: Any = schema
    for name in path.split("."):
        found = found.get("properties", {}).get(name)
        if found is None:
            return None
    return typing.cast(dict[str, Any], found)


def _allow(schema: dict[str, Any], path: list[str], text: str) -> None:
    """Lets a removed key through the schema, so that a template can say what to use instead."""
    name, *rest = path
    properties = schema.setdefault("properties", {})
    if name not in properties:
        properties[name] = {"deprecated": True, "description": f"Removed: {text}" if not rest else "Removed."}
    elif rest and "deprecated" not in properties[name]:
        _allow(properties[name], rest, text)


def outputs(chart: pathlib.Path) -> dict[str, str]:
    """Relative path → text of everything that is made."""
    made = "# Made by `python -m mesh.chart deploy/helm/dac` from mesh/app.py and the configuration's dataclasses.\n"
    copies = {
        f"files/{folder}/{path.name}": path.read_text()
        for folder, pattern in COPIED.items()
        for path in sorted((ROOT / "deploy" / folder).glob(pattern))
    }
    return {
        "files/mesh.yaml": made + yaml.safe_dump(facts(), sort_keys=False, width=110),
        "values.schema.json": json.dumps(values_schema(chart), indent=2) + "\n",
        **copies,
    }


def main(chart: pathlib.Path, *, check: bool) -> int:
    """Brings the chart's made files up to date, or says which are not; returns the exit code."""
    there = [path for folder in COPIED for path in (chart / "files" / folder).glob("*")]
    return bring_up_to_date(chart, outputs(chart), there, check=check, again=f"python -m mesh.chart {chart}")


if __name__ == "__main__":
    arguments = [one for one in sys.argv[1:] if one != "--check"]
    if len(arguments) != 1:
        sys.exit("usage: python -m mesh.chart CHART [--check]")
    sys.exit(main(pathlib.Path(arguments[0]), check="--check" in sys.argv))
