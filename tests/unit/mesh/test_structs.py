"""A Struct as plain values: what was written as a whole number is one again."""

import json

from google.protobuf.struct_pb2 import Struct

from mesh.structs import plain


def test_whole_numbers_are_whole_again() -> None:
    given = {"n": 3, "deep": [{"minLength": 2.0}, 1.5, None, True, "4"], "seed": 2**62, "huge": 1e300, "minus": -7}
    struct = Struct()
    struct.update(given)
    assert json.dumps(plain(struct), sort_keys=True) == json.dumps(
        {**given, "deep": [{"minLength": 2}, 1.5, None, True, "4"]}, sort_keys=True
    )
