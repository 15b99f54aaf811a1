"""What a policy says of answers: voice, checks, redaction, cache. The router only carries it to who answers."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.config import nearest
from mesh.errors import invalid

CHECKS = ("toxicity", "support", "code", "arithmetic", "schema", "shape")
VALIDATION_ACTIONS = ("flag", "retry", "block")
STREAMS = ("flag", "hold")
REDACTION_ACTIONS = ("redact", "block", "flag")
_STRICTNESS = ("flag", "", "redact", "block")
"""Actions, the strictest last; none said = redact."""
PRIVATE_KINDS = (
    "private_key",
    "jwt",
    "api_key",
    "password",
    "email",
    "iban",
    "card",
    "ssn",
    "national_id",
    "crypto",
    "ip",
    "phone",
)
"""The kinds of private values the gateway knows; a test holds them together."""
USUAL_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "CH", "AT", "PL", "BR", "MX", "IN", "JP", "AU")
"""The countries whose telephone numbers the gateway knows where none is named; a test holds them together."""
PRESETS = ("exact", "default", "balanced")
MOST_NAME_CHARS = 64
MOST_TONE_CHARS = 400
MOST_PREAMBLE_CHARS = 8000
MOST_RETRIES = 5
MOST_KINDS = 64
MOST_REGIONS = 32
MOST_TTL_S = 366 * 86_400
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")


@dataclass(frozen=True)
class PersonaRules:
    """One voice."""

    enabled: bool = False
    name: str = ""
    tone: str = ""
    preamble: str = ""
    rewrite: bool = True


@dataclass(frozen=True)
class ValidationRules:
    """What an answer is checked for."""

    enabled: bool = False
    checks: tuple[str, ...] = ()
    action: str = ""
    min_quality: float = 0.0
    streams: str = ""
    max_retries: int = 0
    judge_model: str = ""
    nli: bool = False
    webhook: str = ""


@dataclass(frozen=True)
class RedactionRules:
    """What is kept from providers."""

    enabled: bool | None = None
    """None = not said: off, or in an intent as its policy has it."""
    kinds: tuple[str, ...] = ()
    action: str = ""
    restore: bool | None = None
    """None = not said: no, or in an intent as its policy has it."""
    regions: tuple[str, ...] = ()
    instead: bool = False
    """Of an intent: in place of the policy's, also where that is stricter."""


@dataclass(frozen=True)
class CacheRules:
    """What is stored."""

    enabled: bool | None = None
    preset: str = ""
    ttl_s: int = 0


@dataclass(frozen=True)
class AnswerRules:
    """All of it; a section that is None asks for nothing."""

    persona: PersonaRules | None = None
    validation: ValidationRules | None = None
    redaction: RedactionRules | None = None
    cache: CacheRules | None = None

    def in_force(self) -> AnswerRules | None:
        """Without the sections that are there to switch something off; None when nothing is left."""
        kept = AnswerRules(
            self.persona if self.persona is not None and self.persona.enabled else None,
            self.validation if self.validation is not None and self.validation.enabled else None,
            self.redaction if self.redaction is not None and self.redaction.enabled else None,
            self.cache if self.cache is not None and self.cache != CacheRules() else None,
        )
        return None if kept == AnswerRules() else kept


Read = Callable[[Any, str], Any]


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(where, f"{where}: true or false is needed, not {_said(value)}.")
    return value


def _line(most: int) -> Read:
    def read(value: Any, where: str) -> str:
        text = _text(value, where, most)
        if not text.isprintable():
            raise invalid(where, f"{where}: one line of printable characters is needed, not {_said(value)}.")
        return text.strip()

    return read


def _lines(most: int) -> Read:
    def read(value: Any, where: str) -> str:
        text = _text(value, where, most)
        if not all(one.isprintable() or one in "\n\t" for one in text):
            raise invalid(where, f"{where}: it holds a character that cannot be printed.")
        return text.strip()

    return read


def _text(value: Any, where: str, most: int) -> str:
    if not isinstance(value, str):
        raise invalid(where, f"{where}: a text is needed, not {_said(value)}.")
    if len(value) > most:
        raise invalid(where, f"{where}: at most {most} characters, not {len(value)}.")
    return value


def _one_of(known: Sequence[str]) -> Read:
    def read(value: Any, where: str) -> str:
        if value == "":
            return ""
        if value not in known:
            near = nearest(str(value)[:64], known)
            raise invalid(where, f"{where}: {_said(value)} is none of {', '.join(known)}{near}.")
        return str(value)

    return read


def _list_of(read_one: Read, most: int) -> Read:
    def read(value: Any, where: str) -> tuple[str, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise invalid(where, f"{where}: a list is needed, e.g. [], not {_said(value)}.")
        if len(value) > most:
            raise invalid(where, f"{where}: at most {most} entries, not {len(value)}.")
        return tuple(dict.fromkeys(read_one(one, f"{where}[{index}]") for index, one in enumerate(value)))

    return read


def _named(pattern: re.Pattern[str], what: str) -> Read:
    def read(value: Any, where: str) -> str:
        if value == "":
            return ""
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise invalid(where, f"{where}: {_said(value)} is no {what}.")
        return value

    return read


def _share(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(where, f"{where}: a number is needed, not {_said(value)}.")
    if not 0 <= value <= 1:
        raise invalid(where, f"{where}: it must be between 0 and 1, not {value}.")
    return float(value)


def _whole(most: int) -> Read:
    def read(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(where, f"{where}: a whole number is needed, not {_said(value)}.")
        if not 0 <= value <= most:
            raise invalid(where, f"{where}: it must be between 0 and {most}, not {value}.")
        return value

    return read


def _said(value: object) -> str:
    return repr(value)[:80]


_SECTIONS: Mapping[str, tuple[type, Mapping[str, Read]]] = {
    "persona": (
        PersonaRules,
        {
            "enabled": _flag,
            "name": _line(MOST_NAME_CHARS),
            "tone": _line(MOST_TONE_CHARS),
            "preamble": _lines(MOST_PREAMBLE_CHARS),
            "rewrite": _flag,
        },
    ),
    "validation": (
        ValidationRules,
        {
            "enabled": _flag,
            "checks": _list_of(_one_of(CHECKS), len(CHECKS)),
            "action": _one_of(VALIDATION_ACTIONS),
            "min_quality": _share,
            "streams": _one_of(STREAMS),
            "max_retries": _whole(MOST_RETRIES),
            "judge_model": _named(_MODEL, 'id of a model such as "openai/gpt-4o-mini"'),
            "nli": _flag,
            "webhook": _named(_WORD, "name of a webhook: name one that the operator configured, not an address"),
        },
    ),
    "redaction": (
        RedactionRules,
        {
            "enabled": _flag,
            "kinds": _list_of(_one_of(PRIVATE_KINDS), MOST_KINDS),
            "action": _one_of(REDACTION_ACTIONS),
            "restore": _flag,
            "regions": _list_of(_named(_COUNTRY, "code of a country such as DE"), MOST_REGIONS),
            "instead": _flag,
        },
    ),
    "cache": (CacheRules, {"enabled": _flag, "preset": _one_of(PRESETS), "ttl_s": _whole(MOST_TTL_S)}),
}
"""Section → its class, and how each of its keys is read."""


def read_answers(value: Any, where: str) -> AnswerRules:
    """The sections that are said. Raises INVALID_REQUEST that names the place and the mend."""
    given = _mapping(value, where, "{persona: {enabled: true}}")
    sections: dict[str, Any] = {}
    for section, said in given.items():
        place = f"{where}.{section}"
        if section not in _SECTIONS:
            near = nearest(str(section)[:64], list(_SECTIONS))
            raise invalid(where, f"{where}: unknown key {_said(section)}{near}.")
        made, known = _SECTIONS[section]
        fields = _mapping(said, place, "{enabled: true}")
        for key in fields:
            if key not in known:
                raise invalid(place, f"{place}: unknown key {_said(key)}{nearest(str(key)[:64], list(known))}.")
        sections[section] = made(**{key: known[key](one, f"{place}.{key}") for key, one in fields.items()})
    return AnswerRules(**sections)


def _mapping(value: Any, where: str, example: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid(where, f"{where}: a mapping is needed, e.g. {example}, not {_said(value)}.")
    return value


def overlaid(base: AnswerRules | None, over: AnswerRules, where: str) -> AnswerRules:
    """`base` with the sections of an intent, `over`, in place of its own; redaction is only made stricter, unless it
    is switched off or said to stand instead. Raises INVALID_REQUEST."""
    own = {one.name: getattr(over, one.name) for one in dataclasses.fields(AnswerRules)}
    if base is not None and base.redaction is not None and over.redaction is not None:
        own["redaction"] = _stricter(base.redaction, over.redaction, f"{where}.redaction")
    return dataclasses.replace(base or AnswerRules(), **{name: one for name, one in own.items() if one is not None})


def _stricter(base: RedactionRules, over: RedactionRules, where: str) -> RedactionRules:
    """Both rules together: the kinds and countries of both, the stricter action, values back only where both say so;
    what `over` does not say is as in `base`."""
    if not base.enabled or over.enabled is False or over.instead:
        return over
    regions = base.regions
    if over.regions:
        regions = tuple(dict.fromkeys((*(base.regions or USUAL_REGIONS), *over.regions)))
    if len(regions) > MOST_REGIONS:
        raise invalid(where, f"{where}.regions: with the policy's they are more than {MOST_REGIONS}.")
    return RedactionRules(
        enabled=True,
        kinds=tuple(dict.fromkeys((*base.kinds, *over.kinds))) if base.kinds else (),
        action=max(base.action, over.action, key=_STRICTNESS.index) if over.action else base.action,
        restore=base.restore if over.restore is None else over.restore and base.restore,
        regions=regions,
    )
