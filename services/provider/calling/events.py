"""The words of a generation (or of embeddings and audio): what is asked, what is tried, what comes back. Plain data."""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mesh.errors import Reason
from services.provider.form import FormPart


class Dialect(enum.IntEnum):
    """A chat wire format; the numbers of dac.type.v1.Dialect."""

    UNSPECIFIED = 0
    OPENAI_CHAT = 1
    ANTHROPIC_MESSAGES = 2
    OPENAI_RESPONSES = 3


class Rescue(enum.IntEnum):
    """How an attempt took up a broken answer; the numbers of dac.type.v1.Rescue."""

    NONE = 0
    PREFILL = 1
    INSTRUCTION = 2
    RESTART = 3


class Operation(enum.StrEnum):
    """What a provider is asked for, by OpenTelemetry's names."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    SPEECH = "speech"


class UsageSource(enum.IntEnum):
    """Where a usage comes from; the numbers of dac.type.v1.UsageSource."""

    UNSPECIFIED = 0
    PROVIDER = 1
    COUNTED = 2
    ESTIMATED = 3


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class Usage:
    """Disjoint buckets of tokens, and what audio is measured by beside them; the fields of dac.type.v1.Usage.

    (Nobody changes one, nor the values below. `frozen` would double what making them costs, several for a request.)
    """

    input_tokens: int = 0
    input_cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_seconds: int = 0
    input_characters: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_audio_cached_tokens: int = 0
    input_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    service_tier: str = ""


NO_USAGE = Usage()
_COUNTS = tuple(field.name for field in dataclasses.fields(Usage) if field.name != "service_tier")


def added(usages: Iterable[Usage]) -> Usage:
    """The sum of several usages."""
    total = Usage()
    for one in usages:
        sums = {name: getattr(total, name) + getattr(one, name) for name in _COUNTS}
        total = Usage(**sums, service_tier=one.service_tier or total.service_tier)
    return total


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class Deployment:
    """One endpoint among several that serve the same model."""

    provider: str
    upstream_name: str
    weight: float = 1.0
    priority: int = 0


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class Candidate:
    """A model to try."""

    model: str
    provider: str
    upstream_name: str
    output_cap_tokens: int = 0
    context_tokens: int = 0
    """0 = unknown."""
    deployments: Sequence[Deployment] = ()
    """The endpoints to choose from; empty = `provider` and `upstream_name` alone."""
    sticky: bool = False
    """Whether prompts that begin alike go to the same endpoint."""


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class Deadlines:
    """How long to wait; 0 = the provider's own value."""

    connect_s: float = 0.0
    first_token_s: float = 0.0
    idle_s: float = 0.0
    total_s: float = 0.0


AS_PROVIDED = Deadlines()


def unheard(content_type: str) -> None:
    """Nobody wants to know."""


@dataclasses.dataclass(slots=True)
class Ask:
    """What to generate."""

    input: bytes
    candidates: Sequence[Candidate]
    dialect_in: Dialect = Dialect.OPENAI_CHAT
    dialect_out: Dialect = Dialect.OPENAI_CHAT
    deadlines: Deadlines = AS_PROVIDED
    stream: bool = False
    include_usage: bool = False
    need_text: bool = False
    answer_model: str = ""
    operation: Operation = Operation.CHAT
    vectors: int = 0
    """Embeddings only: how many must come; 0 = any number."""
    input_tokens: int = 0
    """Embeddings only: what stands when the provider tells no usage."""
    bound: Usage = NO_USAGE
    """Audio only: the most that it can use, for what neither the provider tells nor its answer shows."""
    form: Sequence[FormPart] = ()
    """Transcriptions and translations: what is sent in place of `input`."""
    heard: Callable[[str], None] = unheard
    """Audio only: is told the content type of an answer before any of it comes."""
    rescues: int = 0
    """How often an answer that breaks after its first token may be taken up by another attempt."""
    hedge_after_s: float = 0.0
    """A stream that has shown nothing after this long is asked for elsewhere, too; 0 = never."""
    anthropic_beta: str = ""
    """Anthropic's messages only: the caller's header of that name, for providers asked in that form."""


@dataclasses.dataclass(slots=True)
class Attempt:
    """One call to one provider, while it runs and afterwards."""

    attempt_id: str
    provider: str
    model: str
    started_at_s: float
    first_token_ms: float = 0.0
    ended_at_s: float = 0.0
    status_code: int = 0
    reason: Reason = Reason.UNSPECIFIED
    message: str = ""
    usage: Usage = NO_USAGE
    usage_source: UsageSource = UsageSource.UNSPECIFIED
    finish_reason: str = ""
    rescue: Rescue = Rescue.NONE
    provider_key_id: str = ""
    """Which of several keys it was sent with."""


@dataclasses.dataclass(slots=True)
class Started:
    """An attempt begins."""

    attempt_id: str
    model: str
    provider: str
    before: Sequence[Attempt] = ()
    """The attempts before it."""
    rescue: Rescue = Rescue.NONE


class Frames(NamedTuple):
    """Whole stream events, or one whole answer. (A tuple, because one is made for every piece of a stream.)"""

    data: bytes
    events: int


@dataclasses.dataclass(slots=True)
class Finish:
    """The end of a good answer."""

    usage: Usage
    usage_source: UsageSource
    finish_reason: str
    text: str
    tool_calls_json: str
    attempts: Sequence[Attempt]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """The end of a bad one."""

    reason: Reason
    message: str
    status_code: int
    retry_after_s: float
    after_first_token: bool
    attempts: Sequence[Attempt]
    provider_error_json: bytes = b""


Event = Started | Frames | Finish | Failure
