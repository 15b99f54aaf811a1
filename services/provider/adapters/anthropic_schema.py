"""JSON schemas as Anthropic's structured outputs take them: a part of JSON Schema, every object closed.

An answer that keeps to the closed schema keeps to the open one, too. A schema that needs more than the documented part
("Structured outputs: JSON schema limitations") is not given to Anthropic's grammar at all, which would refuse it.
"""

from typing import Any

_COMMON = frozenset(
    {"type", "title", "description", "default", "enum", "const", "anyOf", "$ref", "$defs", "definitions"}
)
_BY_TYPE = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems"}),
    "string": frozenset({"format"}),
}
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_NOTES = frozenset({"$schema", "$id"})
"""What says nothing about an answer; left out."""


class _Unsayable(Exception):
    """The schema needs more than there is."""


def closed(schema: Any) -> dict[str, Any] | None:
    """The schema with every object closed; None when it cannot be said."""
    try:
        made = _closed(schema)
        _refuse_loops(made, made, ())
    except _Unsayable:
        return None
    return made


def _closed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise _Unsayable
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not (kinds or schema.keys() & {"enum", "const", "anyOf", "$ref"}):
        raise _Unsayable
    known = _COMMON.union(*(_BY_TYPE.get(kind, frozenset()) for kind in kinds if isinstance(kind, str)))
    made = {name: value for name, value in schema.items() if name not in _NOTES}
    if not made.keys() <= known or made.get("format", "uuid") not in _FORMATS or made.get("minItems", 0) not in (0, 1):
        raise _Unsayable
    for name in ("properties", "$defs", "definitions"):
        if name in made:
            made[name] = {key: _closed(one) for key, one in _object(made[name]).items()}
    if "anyOf" in made:
        if not isinstance(made["anyOf"], list):
            raise _Unsayable
        made["anyOf"] = [_closed(one) for one in made["anyOf"]]
    if "items" in made:
        made["items"] = _closed(made["items"])
    if "object" in kinds and (made.setdefault("additionalProperties", False) is not False or "properties" not in made):
        # A map with keys of its own: closed, it would be empty.
        raise _Unsayable
    return made


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Unsayable
    return value


def _refuse_loops(part: Any, root: dict[str, Any], inside: tuple[str, ...]) -> None:
    """Raises for a reference that leads to itself or out of the schema."""
    if isinstance(part, list):
        for one in part:
            _refuse_loops(one, root, inside)
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        if name == "$ref":
            _refuse_loops(_referred(value, root, inside), root, (*inside, value))
        elif name not in ("enum", "const", "default", "$defs", "definitions"):
            _refuse_loops(value, root, inside)


def _referred(name: Any, root: dict[str, Any], inside: tuple[str, ...]) -> Any:
    pieces = name.split("/") if isinstance(name, str) else []
    if len(pieces) != 3 or pieces[0] != "#" or pieces[1] not in ("$defs", "definitions") or name in inside:
        raise _Unsayable
    if pieces[2] not in root.get(pieces[1], {}):
        raise _Unsayable
    return root[pieces[1]][pieces[2]]
