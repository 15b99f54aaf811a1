"""An operator's entailment model; the file is made here: its logits are the mean of the pieces and its negative."""

import json

import pytest

from services.gateway.validation.nli_onnx import NliOnnx, UnusableModelError
from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator


def _number(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _message(*fields):
    """Protocol buffers by hand: (number, whole number or bytes)."""
    return b"".join(
        _number(number << 3) + _number(value)
        if isinstance(value, int)
        else _number(number << 3 | 2) + _number(len(value)) + value
        for number, value in fields
    )


def _node(kind, inputs, output, *attributes):
    return _message(*((1, one) for one in inputs), (2, output), (4, kind), *((5, one) for one in attributes))


def _value(name, kind, *dimensions):
    shape = _message(*((1, _message((2, one) if isinstance(one, bytes) else (1, one))) for one in dimensions))
    return _message((1, name), (2, _message((1, _message((1, kind), (2, shape))))))


def model(output_dimensions=(b"n", 2)):
    """A whole ONNX file."""
    nodes = [
        _node(b"Cast", [b"input_ids"], b"x", _message((1, b"to"), (3, 1), (20, 2))),
        _node(b"ReduceMean", [b"x"], b"m", _message((1, b"axes"), (8, 1), (20, 7))),
        _node(b"Neg", [b"m"], b"o"),
        _node(b"Concat", [b"m", b"o"], b"logits", _message((1, b"axis"), (3, 1), (20, 2))),
    ]
    graph = _message(
        *((1, one) for one in nodes),
        (2, b"g"),
        (11, _value(b"input_ids", 7, b"n", b"s")),
        (12, _value(b"logits", 1, *output_dimensions)),
    )
    return _message((1, 8), (8, _message((2, 13))), (7, graph))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(model())
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\ncat\nsleep\n##s\n.\n")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "not_entailment", "1": "ENTAILMENT"}}))
    return tmp_path


async def test_pairs_become_chances(folder):
    nli = NliOnnx(folder / "model.onnx")
    short, long = await nli.entailment([("the cat", "the cat"), ("the cat sleeps.", "The CAT sleeps.")])
    assert 0 <= long < short < 0.02
    (short,) = await nli.entailment([("the cat", "the cat")])
    assert nli.encode("The cat sleeps.", "dog") == ([2, 4, 5, 6, 7, 8, 3, 1, 3], [0] * 7 + [1] * 2)
    assert len(nli.encode("cat " * 900, "the " * 900)[0]) == 256
    other = NliOnnx(folder / "model.onnx", entailment_class=0)
    assert (await other.entailment([("the cat", "the cat")]))[0] == pytest.approx(1 - short)
    assert await nli.entailment([]) is None and await nli.entailment([("a", "b")] * 99) is None
    report = await Validator(embed=None, nli=other).check(
        Subject("Dogs bark.", context=("The cat sleeps.",)), ("support",)
    )
    assert report.scores["support"] == pytest.approx(0.5, abs=0.01)
    nli.close()
    other.close()


async def test_a_file_that_is_no_such_model_is_named(folder):
    async def refused(message):
        with pytest.raises(UnusableModelError, match=message):
            await NliOnnx(folder / "model.onnx").entailment([("a", "b")])

    (folder / "config.json").unlink()
    await refused("which class is entailment")
    (folder / "model.onnx").write_bytes(model((b"n", b"s", 384)))
    await refused("classifier of pairs")
    (folder / "model.onnx").write_bytes(b"nothing")
    await refused("no ONNX model")
    (folder / "vocab.txt").unlink()
    await refused("vocab.txt")
    # The validator goes on without it.
    report = await Validator(embed=None, nli=NliOnnx(folder / "model.onnx")).check(
        Subject("The cat sleeps.", context=("The cat sleeps.",)), ("support",)
    )
    assert report.scores["support"] == 1
