"""The HTTP forms of every annotated RPC, from the descriptors."""

from __future__ import annotations

import dataclasses
import re

from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from dac.type.v1.principal_pb2 import Principal
from mesh.call import has_scope
from mesh.errors import MeshError, Reason
from mesh.permissions import permission_of
from mesh.rpcs import methods

_VERBS = ("get", "put", "post", "delete", "patch")
_PARAMETER = re.compile(r"\{([a-z_]+)(?:=([^}]*))?\}")


@dataclasses.dataclass(frozen=True)
class Binding:
    """One HTTP form of one RPC."""

    verb: str
    template: str
    """As annotated, e.g. /v1/keys/{key_id}."""
    has_body: bool
    method: MethodDescriptor
    request: type[Message]
    response: type[Message]
    form: int = 0
    """Which of the RPC's HTTP forms it is: 0 = the first."""

    @property
    def rpc(self) -> str:
        """The gRPC path."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def service(self) -> str:
        """The DAC service's name, e.g. "budget"."""
        return str(self.method.containing_service.full_name.split(".")[1])

    @property
    def is_file(self) -> bool:
        """Whether it answers with bytes of its own instead of a message."""
        return self.response is httpbody_pb2.HttpBody

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return [name for name, _ in _PARAMETER.findall(self.template)]

    @property
    def route_path(self) -> str:
        """The template as Starlette writes it."""
        return _PARAMETER.sub(lambda found: f"{{{found[1]}{':path' if found[2] == '**' else ''}}}", self.template)


def bindings() -> list[Binding]:
    """Every annotated RPC; literal paths before those with parameters, and last those that take whatever follows."""
    found = []
    for method in methods():
        options = method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        rule = options.Extensions[annotations_pb2.http]
        for form, one in enumerate((rule, *rule.additional_bindings)):
            verb = next(verb for verb in _VERBS if getattr(one, verb))
            found.append(
                Binding(
                    verb.upper(),
                    getattr(one, verb),
                    one.body == "*",
                    method,
                    message_factory.GetMessageClass(method.input_type),
                    message_factory.GetMessageClass(method.output_type),
                    form,
                )
            )
    return sorted(
        found,
        key=lambda binding: (
            len(binding.parameters),
            binding.template.endswith("=**}"),
            binding.template,
            binding.verb,
        ),
    )


def check_scope(binding: Binding, principal: Principal) -> None:
    """Refuses what the service would refuse. Raises PERMISSION_DENIED."""
    scope = permission_of(binding.rpc)
    if isinstance(scope, str) and scope and not has_scope(principal, scope):
        raise MeshError(Reason.PERMISSION_DENIED, f'This needs a key with scope "{scope}".', metadata={"scope": scope})
