"""Idempotency-Key on RPCs: which of them take one, and the way of such a call to its service and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError, Message

from dac.type.v1.principal_pb2 import Principal
from mesh.errors import invalid
from mesh.permissions import permission_of
from services.gateway.api.http_forms import Binding, check_scope
from services.gateway.idempotency.requests import IdempotentRequests, asked_with, read_key

CHANGES_NOTHING = frozenset(
    {
        "/dac.gateway.v1.RedactionService/Redact",
        "/dac.gateway.v1.ValidationService/Validate",
        "/dac.memory.v1.MemoryService/BuildContext",
        "/dac.memory.v1.MemoryService/Embed",
        "/dac.router.v1.PolicyService/TestPolicy",
        "/dac.router.v1.RouterService/Route",
    }
)
"""RPCs that only answer, though their form is a POST and their scope not "read"."""
OWN_REQUEST_ID = frozenset(
    {
        "/dac.memory.v1.ArchiveService/BatchConversations",
        "/dac.memory.v1.ConversationService/CreateBranch",
        "/dac.memory.v1.ConversationService/MergeBranch",
        "/dac.memory.v1.ConversationService/UpdateMessage",
        "/dac.memory.v1.MemoryService/Remember",
        "/dac.provider.v1.KeyService/CreateProviderKey",
        "/dac.router.v1.ExperimentService/CreateExperiment",
        "/dac.router.v1.PolicyService/CreateModel",
        "/dac.router.v1.PolicyService/CreatePolicy",
    }
)
"""RPCs whose service does nothing twice for the same request_id: it gets one that stays with the key."""


def takes_key(binding: Binding) -> bool:
    """Whether it changes something and answers at once."""
    return (
        binding.verb != "GET"
        and not binding.method.server_streaming
        and permission_of(binding.rpc) != "read"
        and binding.rpc not in CHANGES_NOTHING
    )


class KeyedCalls:
    """Calls with a key."""

    def __init__(self, requests: IdempotentRequests) -> None:
        self._requests = requests

    async def answer(
        self,
        binding: Binding,
        principal: Principal,
        given: list[str],
        message: Message,
        call: Callable[[Message], Awaitable[Message]],
    ) -> tuple[Message, bool]:
        """The answer, and whether it was given before. `given`: what the header says, each time it was sent.

        Raises what the call raises, PERMISSION_DENIED, INVALID_REQUEST for such a header, and as
        IdempotentRequests.once.
        """
        key = read_key(given)
        check_scope(binding, principal)
        caller = principal.key_id or principal.user_id or Principal.Kind.Name(principal.kind)
        body = message.SerializeToString(deterministic=True)
        asked = asked_with(key, principal.org_id, caller, binding.rpc, body)

        async def run(request_id: str) -> bytes:
            if binding.rpc in OWN_REQUEST_ID and not message.request_id:  # type: ignore[attr-defined]
                message.request_id = request_id  # type: ignore[attr-defined]
            return (await call(message)).SerializeToString()

        kept, replayed = await self._requests.once(asked, run)
        return binding.response.FromString(kept), replayed


def parsed(binding: Binding, request: bytes) -> Message:
    """A request in bytes. Raises INVALID_REQUEST."""
    try:
        return binding.request.FromString(request)
    except DecodeError:
        raise invalid("body", f"This is no {binding.method.input_type.name}.") from None
