"""The HTTP API as the descriptors tell it: which RPCs have an HTTP form, which stream, and their descriptor set."""

import base64
import dataclasses
import re
from functools import cache

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2

from mesh.rpcs import methods

_VERBS = ("get", "put", "post", "delete", "patch")
_PARAMETER = re.compile(r"\\\{[a-z_]+(=\\\*\\\*)?\\\}")


@dataclasses.dataclass(frozen=True)
class HttpForm:
    """One HTTP form of one RPC."""

    service: str
    """The full name of its gRPC service."""
    template: str
    """As annotated, e.g. /v1/keys/{key_id}."""
    streams: bool
    """Whether the answer is a stream."""

    @property
    def regex(self) -> str:
        """The template as a regular expression over a whole path."""
        return _PARAMETER.sub(lambda found: ".+" if found[1] else "[^/]+", re.escape(self.template))


@cache
def http_forms() -> tuple[HttpForm, ...]:
    """Every annotated RPC, sorted by template."""
    found = set()
    for method in methods():
        options = method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        rule = options.Extensions[annotations_pb2.http]
        for one in (rule, *rule.additional_bindings):
            template = next(getattr(one, verb) for verb in _VERBS if getattr(one, verb))
            found.add(HttpForm(method.containing_service.full_name, template, method.server_streaming))
    return tuple(sorted(found, key=lambda form: (form.template, form.service)))


def descriptor_set(services: frozenset[str]) -> str:
    """The descriptors of `services` and all they import, in base64; with google.rpc's, or errors would have no body."""
    needed: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in needed:
            return
        for dependency in file.dependencies:
            add(dependency)
        needed[file.name] = file

    for method in methods():
        if method.containing_service.full_name in services:
            add(method.containing_service.file)
    add(error_details_pb2.DESCRIPTOR)
    described = descriptor_pb2.FileDescriptorSet()
    for file in needed.values():
        file.CopyToProto(described.file.add())
    return base64.b64encode(described.SerializeToString(deterministic=True)).decode()
