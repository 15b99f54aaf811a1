"""DAC's RPCs as the generated code knows them."""

import importlib
import pathlib
from collections.abc import Iterator

from google.protobuf.descriptor import MethodDescriptor

import dac


def methods() -> Iterator[MethodDescriptor]:
    """Every RPC of every dac.* service."""
    for root in map(pathlib.Path, dac.__path__):
        for file in sorted(root.rglob("*_pb2.py")):
            module = importlib.import_module(".".join(("dac", *file.relative_to(root).with_suffix("").parts)))
            for service in module.DESCRIPTOR.services_by_name.values():
                yield from service.methods
