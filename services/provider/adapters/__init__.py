"""One small file per wire format. An Exchange is one request put to one provider, and its answer on the way back."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from mesh.tokens import estimate_tokens
from services.provider.adapters.framing import SSE, Framing
from services.provider.calling.events import Usage, UsageSource

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""How much of a streamed answer is kept for counting and for Finish.text."""


@dataclasses.dataclass(slots=True)
class Outgoing:
    """The HTTP request to send."""

    path: str
    """Behind the provider's base_url, quoted: it is sent as it stands."""
    headers: Mapping[str, str]
    body: bytes
    framing: Framing = SSE
    """How the answer is cut into events, when it is streamed."""


@dataclasses.dataclass(slots=True)
class Result:
    """What an answer came to."""

    usage: Usage
    usage_source: UsageSource
    finish_reason: str
    text: str = ""
    tool_calls_json: str = ""


class Shown(NamedTuple):
    """What a caller has seen of a streamed answer, when it was nothing but text."""

    text: str
    block: int = -1
    """Anthropic's messages only: the content block that is open, and holds all of the text."""


@runtime_checkable
class Shows(Protocol):
    """An exchange that can tell what its caller has seen."""

    def shown(self) -> Shown | None:
        """The answer so far; None when anything but text was shown and it cannot be taken up."""


class Exchange(Protocol):
    """One request and its answer, translated both ways."""

    first: bool
    """A token has been seen."""
    finished: bool
    """The reason of the end has been seen."""
    done: bool
    """The stream's own end mark has been seen."""

    def outgoing(self) -> Outgoing:
        """The request. Raises ProviderFault when it cannot be said in the provider's dialect."""

    def plain(self, raw: bytes) -> bytes:
        """A whole answer in the caller's dialect. Raises ProviderFault."""

    def event(self, event: bytes) -> bytes:
        """One stream event (or several, or none) in the caller's dialect. Raises ProviderFault."""

    def end(self) -> bytes:
        """What is still owed to the caller when the provider's stream is over. Raises ProviderFault when it was cut."""

    def error_body(self, body: bytes) -> bytes:
        """The provider's error body in the caller's dialect."""

    def result(self, *, need_text: bool) -> Result:
        """Usage and text of what was seen so far."""


def counted(input_text_bytes: int, output_text_bytes: int) -> Usage:
    """A usage from sizes, for providers that tell none."""
    return Usage(input_tokens=estimate_tokens(input_text_bytes), output_tokens=estimate_tokens(output_text_bytes))


def larger(told: Usage, guess: Usage) -> Usage:
    """The provider's own numbers so far, and no less output than was seen."""
    output = max(told.output_tokens, guess.output_tokens - told.reasoning_tokens)
    return dataclasses.replace(told, output_tokens=output)
