"""What may be stored, and for how long. Rules only: an answer that might not fit the next time is not kept."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import msgspec

from services.memory.config import MemoryConfig

JITTER = 0.1
"""By how much of its life a semantic answer may end earlier, so that not all end at once."""

_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we are|we're) (?:(?:very |so |really |truly )?sorry|unable|afraid)|sorry\b|apologies"
    r"|my apologies|i apologi[sz]e|unfortunately,? i (?:can|am)|as an? (?:ai|artificial|large language"
    r"|language model)|i (?:can(?:no|')?t|cannot|can not|won't|will not|am not able to|'m not able to"
    r"|do not have access|don't have access) (?:help|assist|answer|provide|comply|do that|share|discuss|create"
    r"|access)|(?:an )?(?:internal )?(?:server )?error\b|something went wrong"
    r"|service (?:is )?(?:temporarily )?unavailable|too many requests"
    r"|please try again(?: later)?|es tut mir leid|leider kann ich|(?:je suis )?désolé|lo siento|mi dispiace|desculpe)",
    re.IGNORECASE,
)  # fmt: skip
_FAULT = re.compile(
    r"(?:try again (?:later|in a (?:moment|few))|experiencing (?:technical|some)|technical difficult)", re.I
)
_FAULT_CHARACTERS = 400
_VOLATILE = re.compile(
    r"\b(?:today|todays|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|recent|recently"
    r"|this (?:week|month|year|morning|afternoon|evening)|last (?:week|month|night|hour)|right now|at the moment"
    r"|up to date|live|breaking|news|weather|forecast|price|prices|pricing|stock|stocks|share price|exchange rate"
    r"|score|standings|what time is it|what day is it|what date is it|how old is|heute|jetzt|gerade|aktuell|morgen"
    r"|gestern|wetter|preis|aujourd'hui|maintenant|actuel|demain"
    r"|météo|prix|hoy|ahora|actual|mañana|precio|oggi|adesso|prezzo|hoje|agora|preço)\b|今天|现在|最新|今日|今",
    re.IGNORECASE,
)


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")
    refusal: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    function_call: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(_Completion).decode
_NOTHING = (b"null", b"[]", b"{}", b'""')


@dataclass(frozen=True, slots=True)
class Offered:
    """An answer that is offered for storing."""

    openai_json: bytes
    finish_reason: str
    size_bytes: int
    quality: float | None
    prompt: str


def refuses(offered: Offered, config: MemoryConfig) -> str:
    """Why an answer to a scoped question is not stored, or ""."""
    reason = refuses_unread(offered, config)
    if reason:
        return reason
    if len(offered.prompt.encode()) > config.cache_max_prompt_bytes:
        return "prompt_too_long"
    if offered.quality is not None and offered.quality <= config.cache_min_quality:
        return "quality"
    try:
        completion = _decode(offered.openai_json)
    except msgspec.MsgspecError:
        return "not_a_completion"
    return next((reason for choice in completion.choices if (reason := _fault_of(choice))), "") or (
        "" if completion.choices else "empty"
    )


def refuses_unread(offered: Offered, config: MemoryConfig) -> str:
    """What holds for every answer, also for those of gateways that send a fingerprint alone."""
    if offered.finish_reason != "stop":
        return "tool_calls" if offered.finish_reason == "tool_calls" else "finish_reason"
    if not offered.openai_json:
        return "empty"
    return "too_large" if offered.size_bytes > config.cache_max_entry_bytes else ""


def _fault_of(choice: _Choice) -> str:
    message = choice.message
    if bytes(message.tool_calls) not in _NOTHING or bytes(message.function_call) not in _NOTHING:
        return "tool_calls"
    if choice.finish_reason not in (None, "stop"):
        return "finish_reason"
    if message.refusal:
        return "refusal"
    if bytes(message.content) in _NOTHING:
        return "empty"
    content = msgspec.json.decode(message.content)
    if not isinstance(content, str):
        return ""
    if not content.strip():
        return "empty"
    apology = content.replace("\u2019", "'")
    return "refusal" if _REFUSAL.match(apology) or _FAULT.search(apology[:_FAULT_CHARACTERS]) else ""


def is_volatile(prompt: str) -> bool:
    """Whether the answer is another one soon: today, now, latest, prices, weather."""
    return _VOLATILE.search(prompt.replace("\u2019", "'")) is not None


def life_s(asked_s: float, prompt: str, *, scoped: bool, config: MemoryConfig, chance: random.Random) -> float:
    """How long an answer lives, in seconds. `asked_s` 0 = as configured."""
    if not scoped:
        return min(asked_s or config.cache_lifetime_s, config.cache_max_lifetime_s)
    life = min(asked_s or config.cache_semantic_lifetime_s, config.cache_max_lifetime_s)
    if is_volatile(prompt):
        life = min(life, config.cache_volatile_lifetime_s)
    return life if asked_s else life * (1 - JITTER * chance.random())
