"""The mock's vectors: the same input gives the same vector, of unit length."""

import base64
import hashlib
import json
import math
import struct
from typing import Any

from tests.upstream.behaviour import Behaviour

DIMENSIONS = 8


def vector(one: Any, dimensions: int) -> list[float]:
    """The vector of an input, text or tokens."""
    seed = json.dumps(one).encode()
    raw = [hashlib.sha256(seed + bytes([index % 256])).digest()[0] + 1.0 for index in range(dimensions)]
    length = math.sqrt(sum(part * part for part in raw))
    # Single precision, so that both encodings say the same.
    return [struct.unpack("<f", struct.pack("<f", part / length))[0] for part in raw]


def inputs_of(given: Any) -> list[Any]:
    """The inputs, each answered by a vector."""
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def tokens_of(inputs: list[Any]) -> int:
    """What the mock counts: words, or the tokens themselves."""
    return sum(len(one.split()) if isinstance(one, str) else len(one) for one in inputs)


def answer(body: dict[str, Any], behaviour: Behaviour) -> bytes:
    """The body of an answer to a checked request, with the scripted fault in it."""
    inputs = inputs_of(body["input"])
    data = []
    for index, one in enumerate(inputs):
        made: Any = vector(one, body.get("dimensions") or DIMENSIONS)
        if body.get("encoding_format") == "base64":
            made = base64.b64encode(struct.pack(f"<{len(made)}f", *made)).decode()
        data.append({"object": "embedding", "index": index, "embedding": made})
    document: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    used = 0 if behaviour.usage == "zero" else tokens_of(inputs)
    if behaviour.usage != "missing":
        document["usage"] = {"prompt_tokens": used, "total_tokens": used}
    if behaviour.fault == "end_early":
        document["data"] = data[:-1]
    if behaviour.fault == "error_event":
        document = {"error": {"message": "The server had an error", "type": "server_error", "param": None}}
    raw = json.dumps(document).encode()
    if behaviour.fault == "garbage_body":
        raw = raw[: len(raw) // 2]
    if behaviour.fault == "big_body":
        raw = raw[:-1] + b',"padding":"' + b"x" * behaviour.padding_bytes + b'"}'
    return raw
