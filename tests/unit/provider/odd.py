"""What every adapter must bear: JSON of any shape, bytes of any kind. Each call ends in an answer or a named fault."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from services.provider.adapters import Exchange
from services.provider.calling.events import Ask
from services.provider.errors import ProviderFault

Make = Callable[[Ask], Exchange]
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.sampled_from(["x", "", "stop", "function"])
ASK = Ask(b'{"messages":[{"role":"user","content":"hi there"}]}', [], stream=True, include_usage=True)
PLAIN = Ask(ASK.input, [])
FIELDS = """messages role content type text image_url url tools function name parameters tool_calls id arguments stop
seed tool_call_id tool_choice response_format json_schema schema max_tokens n reasoning_effort reasoning_content"""


def odd(names: str) -> st.SearchStrategy[Any]:
    """JSON with these names in it, in places where they do not belong."""
    named = st.sampled_from(names.split())
    return st.recursive(
        LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(named, v, max_size=5), max_leaves=20
    )


def asked() -> st.SearchStrategy[dict[str, Any]]:
    """Requests of nearly the right form."""
    roles = st.sampled_from(["user", "assistant", "tool", "system", "x"])
    kinds = st.sampled_from(["function", "text", "image_url", "json_schema", "data:x", "data:image/png;base64,QUJD"])
    value = odd(FIELDS) | kinds
    message = st.fixed_dictionaries(
        {"role": roles}, optional=dict.fromkeys(("content", "tool_calls", "tool_call_id", "name"), value)
    )
    made = st.dictionaries(st.sampled_from(FIELDS.split()), value, max_size=5)
    return st.tuples(made, st.lists(message, max_size=3)).map(lambda pair: {**pair[0], "messages": pair[1]})


def bears(make: Make, bodies: list[Any], wire: Callable[[bytes], bytes]) -> None:
    """The adapter bears these answers, whole and streamed."""
    streamed = make(ASK)
    try:
        for body in bodies:
            streamed.event(wire(json.dumps(body).encode()))
        streamed.end()
    except ProviderFault:
        pass
    for body in bodies:
        plain = make(PLAIN)
        try:
            plain.plain(json.dumps(body).encode())
        except ProviderFault:
            pass
        plain.result(need_text=True)
        plain.error_body(json.dumps(body).encode())
    usage = streamed.result(need_text=True).usage
    assert min(usage.input_tokens, usage.input_cached_tokens, usage.cache_write_tokens, usage.output_tokens) >= 0


def bears_bytes(make: Make, raw: bytes, wire: Callable[[bytes], bytes]) -> None:
    """The adapter bears these bytes."""
    for read in (lambda: make(PLAIN).plain(raw), lambda: make(ASK).event(wire(raw))):
        try:
            read()
        except ProviderFault:
            pass
    make(PLAIN).error_body(raw)


def says_or_refuses(make: Make, body: Any) -> None:
    """A request of any shape is said as JSON or refused by name."""
    for stream in (False, True):
        try:
            out = make(Ask(json.dumps(body).encode(), [], stream=stream)).outgoing()
        except ProviderFault:
            continue
        assert isinstance(json.loads(out.body), dict)
