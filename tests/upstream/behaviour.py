"""What the mock does with a request: a right answer, or one fault."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class Behaviour:
    """One behaviour. Written as a model name: `fault:cut,after_tokens=40,times=1`."""

    fault: str = "ok"
    """ok, status, context_length, content_policy, reset, hang, headers_only, stall, cut, end_early, no_done,
    garbage_body, garbage_event, garbage_stream, html, empty_body, error_event, endless, big_body, big_event,
    bad_utf8, redirect."""
    model: str = ""
    """Only requests for this model; empty = every request."""
    times: int = 0
    """How many requests it lasts; 0 = for ever."""
    status: int = 500
    retry_after: str = ""
    """The Retry-After header of a refusal."""
    after_tokens: int = 20
    """Where in the stream the fault strikes."""
    delay_s: float = 0.0
    """Before the headers."""
    first_token_delay_s: float = 0.0
    """Between the headers and the first token."""
    token_delay_s: float = 0.0
    """Between tokens."""
    text: str = ""
    """The answer; empty = the fixed text (or the echo, for models whose name contains "echo")."""
    tool: str = ""
    """The tool that is called; empty = the first that is given, "none" = no tool."""
    arguments: str = ""
    """The arguments of a tool call; empty = made from the tool's schema."""
    usage: str = "true"
    """true, missing or zero."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    gzip: bool = False
    crlf: bool = False
    """SSE lines end in CR LF."""
    models: str = ""
    """Only for lists of models: names in place of the usual ones, separated by "|"; a whole number makes so many;
    "{…" and "[…" are sent as they stand."""
    padding_bytes: int = 40 << 20
    """What big_body adds to a whole answer."""
    served: int = 0


ALIASES: dict[str, dict[str, Any]] = {
    **{str(code): {"fault": "status", "status": code} for code in (401, 402, 403, 404, 408, 413, 422, 429)},
    **{str(code): {"fault": "status", "status": code} for code in (500, 502, 503, 504, 529)},
    "400": {"fault": "status", "status": 400},
    "usage_missing": {"fault": "ok", "usage": "missing"},
    "usage_zero": {"fault": "ok", "usage": "zero"},
    "drip": {"fault": "ok", "token_delay_s": 0.2},
    "slow_first": {"fault": "headers_only", "first_token_delay_s": 20.0},
    "gzip": {"fault": "ok", "gzip": True},
    "crlf": {"fault": "ok", "crlf": True},
}
"""Short names of common faults."""


def from_fields(fields: dict[str, Any]) -> Behaviour:
    """A behaviour from loosely typed fields, with ALIASES resolved. Raises ValueError for unknown ones."""
    merged: dict[str, Any] = {**ALIASES.get(str(fields.get("fault", "ok")), {})}
    merged.update({name: value for name, value in fields.items() if name != "fault" or value not in ALIASES})
    made = Behaviour()
    for name, value in merged.items():
        if not hasattr(made, name):
            raise ValueError(f"unknown field {name!r}")
        kind = type(getattr(made, name))
        setattr(made, name, str(value).lower() in ("1", "true") if kind is bool else kind(value))
    return made


def from_model(model: str) -> Behaviour | None:
    """The behaviour a model name asks for: `fault:<name>[,field=value…]`; None for ordinary names."""
    _, found, spec = model.rpartition("fault:")
    if not found:
        return None
    name, *rest = spec.split(",")
    return from_fields({"fault": name, "model": model, **dict(item.split("=", 1) for item in rest)})
