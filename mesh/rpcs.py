"""DAC's RPCs as the generated code knows them."""

import importlib
import pathlib
from collections.abc import Iterator

from google.protobuf.descriptor import MethodDescriptor

import dac


def methods() -> Iterator[MethodDescriptor]:
    """Every RPC of every dac.* service, once, also where several folders of the path hold the generated code."""
    found = {
        file.relative_to(root).with_suffix("").parts
        for root in map(pathlib.Path, dac.__path__)
        for file in root.rglob("*_pb2.py")
    }
    for parts in sorted(found):
        module = importlib.import_module(".".join(("dac", *parts)))
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods
