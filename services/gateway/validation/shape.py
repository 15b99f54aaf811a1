"""What can be seen of an answer without understanding it.

Empty, cut off, refused, repeating itself, in the wrong language, longer than asked, unreadable.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.validation.outcome import Outcome, judged
from services.gateway.validation.subject import ERROR, INFO, SHAPE, WARN, Finding, Subject
from services.gateway.validation.tongues import NAMED, frequent_share, language

READ_CHARACTERS_MAX = 20_000
QUESTION_CHARACTERS_MAX = 4_000
RUN_WORDS = 5
REPEATS_FLAG, REPEATS_FAIL = 0.25, 0.5
"""Shares of runs of five words that stood before."""
PACKED_FAIL = 0.06
"""A text that packs to this share of its length says one thing again and again; English packs to about 0.45."""
PACKED_CHARACTERS_MIN = 400
ODD_FAIL = 0.05
_WORD = re.compile(r"\w+")
_REFUSAL = re.compile(
    r"(?:^|[.!,;:\n] ?)(?:but |however,? |unfortunately,? )?(?:as an? (?:ai|artificial)[^.,\n]{0,60},? )?"
    r"(?:i(?:'m| am) (?:really |very |truly )?(?:sorry|afraid)[,.]? (?:but |that )?)?"
    r"(?:i (?:can(?:no|')t|cannot|can not|won't|will not|must decline|am unable|am not able|"
    r"(?:do not|don't) have the (?:ability|capability))|i(?:'m| am) (?:unable|not able|not capable|not programmed))"
    r"\b(?! (?:wait|stress|emphasi[sz]e|help but|recommend .{1,20} enough))",
    re.IGNORECASE,
)
_REFUSALS_ELSEWHERE = re.compile(
    r"^(?:es tut mir leid, aber ich kann|ich kann (?:dir|ihnen) (?:dabei |damit )?nicht|"
    r"je suis désolée?,? mais je ne peux|lo siento,? pero no puedo|mi dispiace,? ma non posso|"
    r"desculpe,? mas não posso|很抱歉|抱歉|申し訳ありません)",
    re.IGNORECASE,
)
REFUSAL_CHARACTERS = 240
"""Where a refusal stands: at the beginning."""
_LIMIT = re.compile(
    r"\b(?:in|within|at most|under|no more than|not more than|maximum of|less than|fewer than|up to|limit of) "
    r"(?:about |around |exactly )?(\d{1,5}) (words|sentences|characters)\b",
    re.IGNORECASE,
)
_ODD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff\ue000-\uf8ff]")
_SENTENCE_END = re.compile(r"[.!?。！？]+(?=\s|$)")
_CUT = frozenset({"length", "max_tokens"})
_STOPPED = frozenset({"content_filter", "safety", "recitation"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What was seen."""

    outcome: Outcome
    parts: Mapping[str, float]


def check(subject: Subject, prose: str) -> Shape:
    """What is to be said; `prose` is the text with blanks in place of its code."""
    text = subject.text
    if not text.strip():
        finding = Finding(SHAPE, ERROR, "the answer is empty", 0, len(text))
        return Shape(judged([finding], warned=0.0, failed=0.0), {"content": 0.0})
    findings: list[Finding] = []
    parts = {
        "content": _readable(text, prose, findings),
        "finish": _finish(subject, findings),
        "refusal": _refusal(text, findings),
        "repetition": _repetition(text, prose, findings),
        "language": _language(subject, prose, findings),
        "length": _length(subject, findings),
    }
    return Shape(judged(findings, warned=1.0, failed=1.0), parts)


def _readable(text: str, prose: str, findings: list[Finding]) -> float:
    seen = text[:READ_CHARACTERS_MAX]
    odd = len(_ODD.findall(seen))
    if odd > max(2, ODD_FAIL * len(seen)):
        findings.append(Finding(SHAPE, ERROR, "much of the answer is no readable text", 0, len(text)))
        return 0.1
    if not any(character.isalnum() for character in seen) and len(seen) > 20:
        findings.append(Finding(SHAPE, WARN, "the answer has no words", 0, len(text)))
        return 0.4
    words, share = frequent_share(prose)
    # Lists of names have few frequent words, prose of any known language has every fourth.
    if words >= 25 and share < 0.02 and prose.isascii() and "\n" not in prose.strip() and "," not in prose:
        findings.append(Finding(SHAPE, WARN, "the words are of no known language", 0, len(text)))
        return 0.4
    return 1.0


def _finish(subject: Subject, findings: list[Finding]) -> float:
    end = len(subject.text)
    if subject.finish_reason in _CUT:
        findings.append(Finding(SHAPE, WARN, "the answer was cut off at its longest allowed length", end, end))
        return 0.6
    if subject.finish_reason in _STOPPED:
        findings.append(Finding(SHAPE, ERROR, "the provider's filter stopped the answer", end, end))
        return 0.3
    return 1.0


def _refusal(text: str, findings: list[Finding]) -> float:
    head = text[:REFUSAL_CHARACTERS].lstrip().replace("’", "'")
    match = _REFUSAL.search(head) or _REFUSALS_ELSEWHERE.search(head)
    if match is None:
        return 1.0
    findings.append(Finding(SHAPE, WARN, "the answer declines", 0, min(len(text), REFUSAL_CHARACTERS)))
    return 0.5


def _repetition(text: str, prose: str, findings: list[Finding]) -> float:
    seen = text[:READ_CHARACTERS_MAX]
    if len(seen) >= PACKED_CHARACTERS_MIN:
        raw = seen.encode("utf-8", "replace")
        if len(zlib.compress(raw, 1)) < PACKED_FAIL * len(raw):
            findings.append(Finding(SHAPE, ERROR, "the answer says one thing again and again", 0, len(text)))
            return 0.1
    words = _WORD.findall(prose[:READ_CHARACTERS_MAX].lower())
    runs = list(zip(*(words[shift:] for shift in range(RUN_WORDS)), strict=False))
    if len(runs) < 20:
        return 1.0
    share = 1 - len(set(runs)) / len(runs)
    if share < REPEATS_FLAG:
        return 1.0
    severity = ERROR if share >= REPEATS_FAIL else WARN
    findings.append(Finding(SHAPE, severity, f"{share:.0%} of the answer was said before", 0, len(text)))
    return max(0.1, 1.0 - 1.4 * share)


def _language(subject: Subject, prose: str, findings: list[Finding]) -> float:
    if not subject.language and NAMED.search(subject.question[:QUESTION_CHARACTERS_MAX]):
        return 1.0
    wanted = subject.language.lower()[:2] or language(subject.question)
    found = language(prose) if wanted else ""
    if not wanted or not found or wanted == found:
        return 1.0
    findings.append(Finding(SHAPE, WARN, f"the answer is in {found}, not in {wanted}", 0, len(subject.text)))
    return 0.5


def _length(subject: Subject, findings: list[Finding]) -> float:
    match = _LIMIT.search(subject.question[:QUESTION_CHARACTERS_MAX])
    if match is None:
        return 1.0
    most, unit = int(match[1]), match[2].lower()
    text = subject.text[:READ_CHARACTERS_MAX]
    has = len(text)
    if unit != "characters":
        has = len((_WORD if unit == "words" else _SENTENCE_END).findall(text))
    if has <= 1.2 * most:
        return 1.0
    is_far = has > 2 * most
    message = f"{has} {unit}, where {most} were asked for"
    findings.append(Finding(SHAPE, WARN if is_far else INFO, message, 0, len(subject.text)))
    return 0.7 if is_far else 0.9
