"""A small rate limit service (RLS v3). Its wire format is Envoy's, so it is built here, in the tests alone."""

import dataclasses
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.ports import free_port

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
OK, OVER_LIMIT = 1, 2
_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    """The parts of envoy.service.ratelimit.v3 that are needed."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/rls.proto", package="tests.rls", syntax="proto3")

    def message(name: str, *fields: tuple[int, str, int, bool, str]) -> None:
        made = file.message_type.add(name=name)
        for number, field, kind, repeated, type_name in fields:
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, label=label, type_name=type_name or None)

    text, sub, enum = _FIELD.TYPE_STRING, _FIELD.TYPE_MESSAGE, _FIELD.TYPE_INT32
    message("Entry", (1, "key", text, False, ""), (2, "value", text, False, ""))
    message("Descriptor", (1, "entries", sub, True, ".tests.rls.Entry"))
    message("Request", (1, "domain", text, False, ""), (2, "descriptors", sub, True, ".tests.rls.Descriptor"))
    message("Response", (1, "overall_code", enum, False, ""))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tests.rls.{name}"))
        for name in ("Request", "Response")
    }


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question of Envoy's."""

    domain: str
    descriptors: tuple[dict[str, str], ...]


class RateLimitServer:
    """Answers OVER_LIMIT for the descriptors in `limited`; keeps what it was asked and the bytes of it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.limited: list[tuple[str, str]] = []
        self.asked: list[Asked] = []
        self.raw = b""
        self._types = _messages()
        self._server: grpc.Server | None = None

    def start(self) -> "RateLimitServer":
        """Begins to answer."""
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer, response_serializer=lambda message: message.SerializeToString()
        )
        service, method = METHOD[1:].split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()
        return self

    def stop(self) -> None:
        """Ends it."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def _answer(self, data: bytes, context: grpc.ServicerContext) -> Any:
        self.raw += data
        request = self._types["Request"].FromString(data)
        descriptors = tuple({entry.key: entry.value for entry in one.entries} for one in request.descriptors)
        self.asked.append(Asked(request.domain, descriptors))
        over = any(one.get(key) == value for one in descriptors for key, value in self.limited)
        return self._types["Response"](overall_code=OVER_LIMIT if over else OK)
