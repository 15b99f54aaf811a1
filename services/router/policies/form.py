"""What may be written of a policy, in a file as through the API: checked, and made into a `RoutingPolicy`."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mesh.config import nearest
from mesh.errors import invalid
from mesh.ids import is_uuid
from services.router.deciding.scoring import NANO_USD, Weights
from services.router.policies.answer_rules import overlaid, read_answers
from services.router.policies.policies import (
    FILE,
    INTENTS,
    PROFILE_NAMES,
    RoutingPolicy,
    TenantRules,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_PATTERNS = 200
MOST_PATTERN_CHARS = 200
MOST_CANDIDATES = 20
MOST_EXPLORATION = 0.5
MOST_MS = 3_600_000.0
MOST_COST_NANO_USD = 1_000_000 * NANO_USD
_PATTERN = re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]+")
_WEIGHTS = [one.name for one in dataclasses.fields(Weights)]
_TENANT_KEYS = ("policy", "allowed_models", "routing_mode", "regions")


def _share(most: float) -> Callable[[Any, str], float]:
    def read(value: Any, where: str) -> float:
        return _number(value, where, most)

    return read


def _number(value: Any, where: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(where, f"{where}: a number is needed, not {_said(value)}.")
    if not 0 <= value <= most:
        raise invalid(where, f"{where}: it must be between 0 and {most:g}, not {value}.")
    return float(value)


def _whole(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(where, f"{where}: a whole number is needed, not {_said(value)}.")
        if not least <= value <= most:
            raise invalid(where, f"{where}: it must be between {least} and {most}, not {value}.")
        return value

    return read


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(where, f"{where}: true or false is needed, not {_said(value)}.")
    return value


def _profile(value: Any, where: str) -> str:
    if value not in PROFILE_NAMES:
        raise invalid(where, f"{where}: there is no profile {_said(value)}{nearest(str(value)[:64], PROFILE_NAMES)}.")
    return str(value)


def _weights(value: Any, where: str) -> Weights:
    if not isinstance(value, Mapping) or not value:
        raise invalid(where, f"{where}: numbers for {', '.join(_WEIGHTS)} are needed, which sum to 1.")
    for key in value:
        if key not in _WEIGHTS:
            raise invalid(where, f"{where}: there is no weight {_said(key)}{nearest(str(key)[:64], _WEIGHTS)}.")
    given = {name: _number(value.get(name, 0), f"{where}.{name}", 1) for name in _WEIGHTS}
    total = sum(given.values())
    if abs(total - 1) > 1e-6:
        raise invalid(where, f"{where}: the weights must sum to 1; these sum to {total:g}.")
    return Weights(**given)


def _patterns(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise invalid(where, f"{where}: a list is needed, e.g. [openai/*].")
    if len(value) > MOST_PATTERNS:
        raise invalid(where, f"{where}: at most {MOST_PATTERNS} entries, not {len(value)}: use patterns.")
    for one in value:
        if not isinstance(one, str) or len(one) > MOST_PATTERN_CHARS or not _PATTERN.fullmatch(one):
            raise invalid(where, f"{where}: {_said(one)} is no id, nor a pattern such as openai/*.")
    return tuple(dict.fromkeys(value))


def _regions(value: Any, where: str) -> tuple[str, ...]:
    return tuple(one.lower() for one in _patterns(value, where))


def _usd(value: Any, where: str) -> int:
    return round(_number(value, where, MOST_COST_NANO_USD / NANO_USD) * NANO_USD)


Read = Callable[[Any, str], Any]
_OF_INTENT: Mapping[str, Read] = {
    "profile": _profile,
    "weights": _weights,
    "allowed_models": _patterns,
    "denied_models": _patterns,
    "allowed_providers": _patterns,
    "denied_providers": _patterns,
    "min_quality": _share(1),
    "max_first_token_ms": _share(MOST_MS),
    "max_latency_ms": _share(MOST_MS),
    "max_cost_nano_usd": _whole(0, MOST_COST_NANO_USD),
    "max_cost_usd": _usd,
    "quality_floor_share": _share(1),
    "max_quality_drop": _share(1),
    "exploration": _share(MOST_EXPLORATION),
    "max_candidates": _whole(1, MOST_CANDIDATES),
    "answers": read_answers,
}
"""Key → how it is read; these may differ by intent."""
_OF_ALL: Mapping[str, Read] = {**_OF_INTENT, "regions": _regions, "named_fallbacks": _flag}
KEYS = (*_OF_ALL, "intents")
"""What may be said of a policy."""


def check_name(name: object, where: str = "name") -> str:
    """The name as it is. Raises INVALID_REQUEST."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid(where, f"{where}: {_said(name)} is no name of a policy: a-z, 0-9, _ and -, at most 63.")
    return name


def parse(name: str, raw: object, base: RoutingPolicy, version: str, where: str = "rules") -> RoutingPolicy:
    """The policy; what is not said is as in `base`. Raises INVALID_REQUEST that names the place and the mend."""
    given = _mapping(raw, where)
    _check_keys(given, KEYS, where)
    intents = _mapping(given.get("intents") or {}, f"{where}.intents")
    _check_keys(intents, INTENTS, f"{where}.intents")
    rules = _read({key: value for key, value in given.items() if key != "intents"}, _OF_ALL, where)
    plain = dataclasses.replace(base, name=name, version=version, by_intent={}, **rules)
    if "answers" in rules and rules["answers"].redaction is not None and rules["answers"].redaction.instead:
        raise invalid(where, f"{where}.answers.redaction.instead: only what an intent says can stand instead.")
    by_intent = {}
    for intent, over in intents.items():
        place = f"{where}.intents.{intent}"
        narrowed = _mapping(over, place)
        _check_keys(narrowed, _OF_INTENT, place)
        own = _read(narrowed, _OF_INTENT, place)
        if "answers" in own:
            own["answers"] = overlaid(plain.answers, own["answers"], f"{place}.answers")
        by_intent[intent] = dataclasses.replace(plain, **own)
    return dataclasses.replace(plain, by_intent=by_intent)


def _mapping(raw: object, where: str) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise invalid(where, f"{where}: a mapping is needed, e.g. {{profile: budget}}, not {_said(raw)}.")
    return raw


def _check_keys(given: Mapping[str, Any], known: Sequence[str] | Mapping[str, Any], where: str) -> None:
    for key in given:
        if key not in known:
            raise invalid(where, f"{where}: unknown key {_said(key)}{nearest(str(key)[:64], known)}.")


def _read(given: Mapping[str, Any], known: Mapping[str, Read], where: str) -> dict[str, Any]:
    if "max_cost_usd" in given and "max_cost_nano_usd" in given:
        raise invalid(where, f"{where}: max_cost_usd and max_cost_nano_usd are the same: say one of them.")
    if "profile" in given and "weights" in given:
        raise invalid(where, f"{where}: say a profile or weights of your own, not both.")
    values = {key: known[key](value, f"{where}.{key}") for key, value in given.items()}
    if "max_cost_usd" in values:
        values["max_cost_nano_usd"] = values.pop("max_cost_usd")
    if "profile" in values:
        values["weights"] = None
    if "max_quality_drop" in values:
        values["bounds_drop"] = True
    return values


def _said(value: object) -> str:
    return repr(value)[:80]


def encode(raw: object) -> str:
    """What was written, as the JSON that is kept: the same for the same rules, whatever the order of their keys."""
    return msgspec.json.encode(raw or {}, order="sorted").decode()


def decode(document: str) -> dict[str, Any]:
    """What was kept."""
    found: dict[str, Any] = msgspec.json.decode(document)
    return found


def parse_policies(raw: object, base: RoutingPolicy) -> dict[str, tuple[RoutingPolicy, dict[str, Any]]]:
    """The section `policies` of files: name → the policy and what was written. Raises INVALID_REQUEST."""
    made = {}
    for name, rules in _mapping(raw, "policies").items():
        check_name(name, "policies")
        if name in PROFILE_NAMES:
            raise invalid("policies", f'policies: "{name}" is the built-in policy of that profile: take another name.')
        written = dict(_mapping(rules, f"policies.{name}"))
        try:
            tag = hashlib.sha256(encode(written).encode()).hexdigest()[:8]
        except (TypeError, ValueError):
            raise invalid("policies", f"policies.{name}: its keys must be words.") from None
        made[name] = (parse(name, written, base, f"{name}@{FILE}-{tag}", f"policies.{name}"), written)
    return made


def parse_tenants(raw: object, known: Sequence[str]) -> dict[str, TenantRules]:
    """The section `tenants` of files: an organisation's id or name → its rules. `known`: policies that there are.

    Raises INVALID_REQUEST.
    """
    made = {}
    for key, rules in _mapping(raw, "tenants").items():
        if not isinstance(key, str):
            raise invalid("tenants", f"tenants: {_said(key)} is no id and no name: put it in quotes.")
        where = f"tenants.{key}"
        given = {"policy": rules} if isinstance(rules, str) else dict(_mapping(rules, where))
        _check_keys(given, _TENANT_KEYS, where)
        policy = str(given.get("policy") or "")
        if policy and policy not in known:
            raise invalid(where, f'{where}.policy: there is no policy "{policy[:64]}"{nearest(policy[:64], known)}.')
        org = key.lower() if is_uuid(key) else key
        if org in made:
            raise invalid(where, f"{where}: the organisation is there twice.")
        made[org] = tenant_rules(org, given, FILE, where)
    return made


def tenant_rules(org_id: str, given: Mapping[str, Any], managed_by: str, where: str) -> TenantRules:
    """What the operator says of one organisation, checked but for whether the policy exists."""
    mode = given.get("routing_mode") or ""
    policy = given.get("policy") or ""
    return TenantRules(
        org_id,
        check_name(policy, f"{where}.policy") if policy else "",
        _profile(mode, f"{where}.routing_mode") if mode else "",
        _patterns(given.get("allowed_models") or [], f"{where}.allowed_models"),
        _regions(given.get("regions") or [], f"{where}.regions"),
        managed_by,
    )
