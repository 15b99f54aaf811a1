"""What counts as an answer of embeddings, and whose fault another one is."""

import pytest

from mesh.errors import Reason
from services.provider.calling.events import Ask, Candidate, Operation, Usage, UsageSource
from services.provider.embedding import EmbeddingExchange
from services.provider.errors import ProviderFault


def exchange(body: bytes = b'{"model":"dac","input":["a","b"]}', vectors: int = 2) -> EmbeddingExchange:
    candidate = Candidate("up/embed", "up", "embed")
    ask = Ask(body, [candidate], operation=Operation.EMBEDDINGS, vectors=vectors, input_tokens=9)
    return EmbeddingExchange(ask, candidate, "up", "")


@pytest.mark.parametrize(
    ("raw", "usage", "source"),
    [
        (b'{"data":[{"embedding":[0.10]},{"embedding":"AAA="}],"usage":{"prompt_tokens":3}}', 3, UsageSource.PROVIDER),
        (b'{"data":[{"embedding":[1]},{"embedding":[1]}],"usage":{"prompt_tokens":0}}', 0, UsageSource.PROVIDER),
        (b'{"data":[{"embedding":[1]},{"embedding":[1]}],"usage":{"total_tokens":3}}', 9, UsageSource.COUNTED),
        (b'{"data":[{"embedding":[1]},{"embedding":[1]}],"usage":null}', 9, UsageSource.COUNTED),
        (b'{"data":[{"embedding":[1]},{"embedding":[1]}]}', 9, UsageSource.COUNTED),
    ],
)
def test_good_answers_are_kept_byte_for_byte(raw: bytes, usage: int, source: UsageSource) -> None:
    made = exchange()
    assert made.plain(raw) is raw
    result = made.result(need_text=False)
    assert (result.usage, result.usage_source) == (Usage(input_tokens=usage), source)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data":{}}',
        b'{"data":[]}',
        b'{"data":[{"embedding":[1]}]}',
        b'{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[1]}]}',
        b'{"data":[{"embedding":[1]},{"index":1}]}',
        b'{"data":[{"embedding":[1]},{"embedding":null}]}',
        b'{"data":[{"embedding":[1]},{"embedding":7}]}',
        b'{"data":[{"embedding":[1]},{"embedding":[]}]}',
        b'{"data":[{"embedding":[1]},{"embedding":""}]}',
        b'{"data":[{"embedding":[1]},{"embedding":[1]}',
        b'{"error":{"message":"no","code":"overloaded"}}',
        b'{"error":"no"}',
        b'{"data":' + b"[" * 5000,
    ],
)
def test_other_answers_are_the_providers_failure(raw: bytes) -> None:
    with pytest.raises(ProviderFault) as caught:
        exchange().plain(raw)
    assert caught.value.reason is Reason.PROVIDER_FAILED


def test_a_body_that_is_no_object_is_the_callers_fault() -> None:
    with pytest.raises(ProviderFault) as caught:
        exchange(b"[1]").outgoing()
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_a_key_is_sent_only_when_there_is_one() -> None:
    assert "Authorization" not in exchange().outgoing().headers
