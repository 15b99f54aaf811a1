"""Splicing changes what it names and nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.splice import fields_of, replace_model, splice

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4), max_leaves=12
)
bodies = st.dictionaries(st.text(), values, max_size=6)


@given(bodies, st.booleans(), st.dictionaries(st.sampled_from(["model", "stream", "max_tokens"]), scalars))
def test_values_that_are_not_named_keep_their_bytes(
    body: dict[str, Any], spaced: bool, changes: dict[str, Any]
) -> None:
    raw = json.dumps(body, indent=3 if spaced else None, ensure_ascii=spaced).encode("utf-8", "surrogatepass")
    try:
        before = fields_of(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # lone surrogates are no JSON text
    out = splice(raw, {name: msgspec.json.encode(value) for name, value in changes.items()})
    after = fields_of(out)
    assert [n for n in after if n in before] == list(before), "order is kept"
    for name, value in before.items():
        if name not in changes:
            assert bytes(after[name]) == bytes(value)
    for name, value in changes.items():
        assert msgspec.json.decode(bytes(after[name])) == value
    assert set(after) == set(before) | set(changes)


def test_numbers_and_escapes_are_not_rewritten() -> None:
    raw = b'{ "model" : "a", "big": 12345678901234567890.10, "s": "\\u00e9\\/", "nested": {"model" : "b"} }'
    out = splice(raw, {"model": b'"z"'})
    assert b"12345678901234567890.10" in out and b'"\\u00e9\\/"' in out and b'{"model" : "b"}' in out
    assert b'"model":"z"' in out


def test_removal() -> None:
    assert splice(b'{"a":1,"b":2}', {"a": None, "c": None}) == b'{"b":2}'


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b'{"a":}', b"null"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        fields_of(raw)


@given(st.text(), st.text())
def test_the_model_of_an_event(old: str, new: str) -> None:
    event = b"data: " + msgspec.json.encode(
        {"id": "x", "model": old, "choices": [{"delta": {"content": '"model":"y"'}}]}
    )
    wanted = b"data: " + msgspec.json.encode(
        {"id": "x", "model": new, "choices": [{"delta": {"content": '"model":"y"'}}]}
    )
    assert replace_model(event, msgspec.json.encode(new)) == wanted
