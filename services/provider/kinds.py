"""The kinds of providers: which exchange speaks each wire format of a caller with each wire format of a provider."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Protocol

from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.gemini import GeminiExchange
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.adapters.openai import OFFICIAL_HOST, OpenAIExchange
from services.provider.adapters.responses_from_chat import ResponsesExchange
from services.provider.adapters.responses_pass import ResponsesPassExchange
from services.provider.embedding import EmbeddingExchange
from services.provider.errors import cannot_embed, not_translatable
from services.provider.events import Ask, Candidate, Dialect, Operation
from services.provider.local import LocalExchange


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A provider as its adapter sees it."""

    provider: str
    kind: str
    key: str = ""
    host: str = ""
    """The host of its base_url: some parameters are named differently at a provider's own address."""
    local_max_tokens: int = 0
    """The embedded model only: the limit for requests that set none."""
    responses: bool = False
    """It speaks OpenAI's responses API itself, as its operator says."""


class Make(Protocol):
    """Makes an exchange for one attempt."""

    def __call__(self, ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        """Raises ProviderFault when the dialects do not meet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One wire format of providers."""

    chat: Make
    """For callers of chat completions."""
    messages: Make | None = None
    """For callers of Anthropic messages; None = translated over `chat`."""
    embeddings: Make | None = None
    """For callers of OpenAI's embeddings; None = it makes none."""
    responses: Make | None = None
    """For callers of OpenAI's responses; None = translated over `chat`."""


def _openai(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    return OpenAIExchange(ask, candidate, account.provider, account.key, host=account.host)


def _local(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    return LocalExchange(ask, candidate, max_tokens=account.local_max_tokens)


def _anthropic(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return AnthropicExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _anthropic_pass(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return AnthropicPassExchange(ask, candidate, account.provider, account.key)


def _gemini(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return GeminiExchange(ask, candidate, account.provider, account.key, now_s=int(time.time()))


def _messages_over(chat: Make) -> Make:
    """Anthropic messages for a provider that is asked for chats."""

    def make(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        official = account.host == OFFICIAL_HOST
        return MessagesExchange(ask, account.provider, lambda said: chat(said, candidate, account), official=official)

    return make


def _responses_over(chat: Make) -> Make:
    """OpenAI's responses for a provider that is asked for chats."""

    def make(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        return ResponsesExchange(ask, account.provider, lambda said: chat(said, candidate, account), now=time.time)

    return make


def _responses(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    """OpenAI itself speaks its responses; a compatible server does when its operator says so."""
    if account.responses or account.host == OFFICIAL_HOST:
        return ResponsesPassExchange(ask, candidate, account.provider, account.key)
    return _responses_over(_openai)(ask, candidate, account)


def _embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    return EmbeddingExchange(ask, candidate, account.provider, account.key)


KINDS: Mapping[str, Kind] = {
    "openai": Kind(_openai, responses=_responses, embeddings=_embeddings),
    "anthropic": Kind(_anthropic, messages=_anthropic_pass),
    "gemini": Kind(_gemini),
    "local": Kind(_local),
}
"""Every kind by its name in `providers:`."""


def exchange_of(ask: Ask, candidate: Candidate, account: Account) -> Exchange:
    """A new exchange for one attempt. Raises ProviderFault when the dialects do not meet."""
    kind = KINDS[account.kind]
    if ask.operation is Operation.EMBEDDINGS:
        if kind.embeddings is None:
            raise cannot_embed(candidate.model, account.provider, account.kind)
        return kind.embeddings(ask, candidate, account)
    ways = (ask.dialect_in, ask.dialect_out)
    if ways == (Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT):
        return kind.chat(ask, candidate, account)
    if ways == (Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES):
        return (kind.messages or _messages_over(kind.chat))(ask, candidate, account)
    if ways == (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES):
        return (kind.responses or _responses_over(kind.chat))(ask, candidate, account)
    raise not_translatable(
        f"{candidate.model} cannot be asked in one wire format and answer in another: use /v1/chat/completions for "
        f"models of {account.provider}."
    )
