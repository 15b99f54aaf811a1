"""The kinds of providers: which exchange speaks each wire format of a caller with each wire format of a provider."""

import dataclasses
import re
import time
from collections.abc import Mapping
from typing import Protocol

from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.dialects import ChatDialect, dialect_of, key_headers
from services.provider.adapters.gemini import GeminiExchange
from services.provider.adapters.mending import MendingExchange
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.adapters.mistral import MistralExchange
from services.provider.adapters.openai import OpenAIExchange
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
    said_dialect: str = ""
    """Kind openai only: the dialect its operator named; "" = whose address, or else whose name it has."""
    path: str = ""
    """The path of its base_url: some features exist only under another one."""

    @property
    def dialect(self) -> ChatDialect:
        """What differs from OpenAI's own form; of kind openai only."""
        return dialect_of(self.provider, self.host, self.said_dialect)

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


MENDED: Mapping[str, type[OpenAIExchange]] = {
    "mistral": MistralExchange,
    "together": MendingExchange,
    "huggingface": MendingExchange,
}
"""The dialects of OpenAI's form whose answers need mending, and who mends them."""


def _openai(ask: Ask, candidate: Candidate, account: Account, /) -> OpenAIExchange:
    dialect = account.dialect
    make = MENDED.get(dialect.name, OpenAIExchange)
    return make(ask, candidate, account.provider, account.key, dialect=dialect)


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
        newer = account.dialect.limits[0] == "max_completion_tokens"
        return MessagesExchange(ask, account.provider, lambda said: chat(said, candidate, account), official=newer)

    return make


def _responses_over(chat: Make) -> Make:
    """OpenAI's responses for a provider that is asked for chats."""

    def make(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
        return ResponsesExchange(ask, account.provider, lambda said: chat(said, candidate, account), now=time.time)

    return make


def _responses(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    """OpenAI itself speaks its responses; a compatible server does when its operator says so."""
    if account.responses or account.dialect.name == "openai":
        return ResponsesPassExchange(ask, candidate, account.provider, key_headers(account.dialect, account.key))
    return _responses_over(_openai)(ask, candidate, account)


def _embeddings(ask: Ask, candidate: Candidate, account: Account, /) -> Exchange:
    if not account.dialect.embeds:
        raise cannot_embed(candidate.model, account.provider, f"{account.kind}, dialect {account.dialect.name}")
    return EmbeddingExchange(ask, candidate, account.provider, account.key, dialect=account.dialect)


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


_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d)(?:[.-](\d)(?!\d))?")
_LAST_WITH_PREFILL = (4, 5)
"""Claude's versions after this one refuse a begun answer."""


def prefill_of(account: Account, upstream_name: str = "") -> str:
    """How a model goes on with a begun answer, in the words of ChatDialect.prefill; "" = it does not.

    Of Anthropic's only some models do: without a name none.
    """
    if account.kind == "local":
        return "last_message"
    if account.kind == "anthropic":
        found = _CLAUDE.search(upstream_name)
        return "last_message" if found and (int(found[1]), int(found[2] or 0)) <= _LAST_WITH_PREFILL else ""
    if account.kind != "openai":
        return ""
    dialect = account.dialect
    if dialect.name == "deepseek" and not account.path.rstrip("/").endswith("/beta"):
        return ""
    return dialect.prefill
