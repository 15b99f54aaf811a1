"""Bodies for embeddings: what is counted, and what is refused before anything is asked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from services.gateway.embeddings import ADDED_TOKENS, EmbedAsk, parse_embeddings


def parse(value: Any, **more: Any) -> EmbedAsk:
    return parse_embeddings(json.dumps({"model": "a/b", "input": value, **more}).encode())


def refusal(body: bytes) -> MeshError:
    with pytest.raises(MeshError) as caught:
        parse_embeddings(body)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value


@pytest.mark.parametrize(
    ("value", "vectors", "likely", "most"),
    [
        ("abcdefgh", 1, 2, 8),
        ("ü" * 8, 1, 4, 16),
        (["abcd", "efgh"], 2, 2, 8),
        ([1, 2, 3], 1, 3, 3),
        ([[1, 2, 3], [4]], 2, 4, 4),
    ],
)
def test_inputs_are_counted(value: Any, vectors: int, likely: int, most: int) -> None:
    ask = parse(value, encoding_format="base64", dimensions=4, unknown={"kept": [1]})
    assert (ask.vectors, ask.input_tokens, ask.input_tokens_max) == (vectors, likely, most + ADDED_TOKENS * vectors)


def test_the_body_is_kept_byte_for_byte() -> None:
    body = b'{ "input" : "a\\u00fc" , "x":[1.50], "model":"a/b"}'
    assert parse_embeddings(body).body is body


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_the_bound_is_never_below_the_estimate(texts: list[str]) -> None:
    texts = [one.encode("utf-8", "ignore").decode() or "x" for one in texts]
    ask = parse(texts)
    assert ask.input_tokens == sum(estimate_tokens(len(one.encode())) for one in texts)
    assert ask.input_tokens_max >= max(ask.input_tokens, sum(len(one.encode()) for one in texts))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"input": "a"}', "model"),
        (b'{"model": 1, "input": "a"}', "model"),
        (b'{"model": "a/b"}', "input"),
        (b'{"model": "a/b", "input": null}', "input"),
        (b'{"model": "a/b", "input": ""}', "input"),
        (b'{"model": "a/b", "input": []}', "input"),
        (b'{"model": "a/b", "input": 1}', "input"),
        (b'{"model": "a/b", "input": {"text": "a"}}', "input"),
        (b'{"model": "a/b", "input": ["a", ""]}', "input[1]"),
        (b'{"model": "a/b", "input": [[1], []]}', "input[1]"),
        (b'{"model": "a/b", "input": ["a", 1]}', "input"),
        (b'{"model": "a/b", "input": ["a", [1]]}', "input"),
        (b'{"model": "a/b", "input": [1.5]}', "input"),
        (b'{"model": "a/b", "input": [-1]}', "input"),
        (b'{"model": "a/b", "input": [true]}', "input"),
        (b'{"model": "a/b", "input": [[1, "a"]]}', "input"),
        (b'{"model": "a/b", "input": "\xff"}', "body"),
        (b'{"model": "a/b", "input": ' + b"[" * 80 + b"]" * 80 + b"}", "body"),
    ],
)
def test_wrong_bodies_are_named(body: bytes, field: str) -> None:
    assert refusal(body).metadata["field"] == field


def test_more_texts_than_anybody_embeds_at_once_are_refused() -> None:
    body = b'{"model": "a/b", "input": [' + b'"a",' * 100_000 + b'"a"]}'
    assert "at most 100000" in refusal(body).message
    assert parse([1] * 100_001).input_tokens == 100_001
