"""Whether two names may mean one model: slot by slot, what agrees, what one of them leaves open, what contradicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from rapidfuzz import fuzz

from services.router.resolving.makers import is_maker_word, same_maker
from services.router.resolving.tokens import NOT_THINKING, TIERS, Identity

NEAR = 88.0
"""How alike (0–100) the words of two names must be where all typed tokens agree."""
WHOLE_DATE = 8
"""Digits of a date to the day."""
SHORTEST_SPELLING = 4
"""Letters a word must have before another spelling of it is believed: "k" and "m" are two series."""
MAY_BE_LEFT_OUT = frozenset({"fp8"})
"""Quantisations in which makers publish originals: a name may leave them out."""


@dataclass(slots=True)
class Comparison:
    """Two names beside each other."""

    agreed: list[str] = field(default_factory=list)
    """"size 70b", …: what both say."""
    open: list[str] = field(default_factory=list)
    """What only one of them says."""
    against: str = ""
    """Why they cannot be joined; empty when nothing speaks against it."""
    contradiction: bool = False
    """Both say it and it differs: no other name of the model can mend that."""
    anchors: int = 0
    """How many of version, size and date agree."""
    version_agrees: bool = False
    date_agrees: bool = False
    words_score: float = 0.0
    """How alike the words are: 100 = the same."""

    def refuse(self, why: str, *, contradiction: bool = False) -> None:
        """Keeps the first reason; a contradiction outlives it."""
        self.against = self.against or why
        self.contradiction = self.contradiction or contradiction


def compare(source: Identity, candidate: Identity, *, chats: bool = False) -> Comparison:
    """A source's name beside a candidate's. `chats`: whatever the source lists follows instructions."""
    result = Comparison()
    if source.organisation and not same_maker(source.organisation, candidate.organisation):
        result.refuse(f"{source.organisation} is not {candidate.organisation}")
    _versions(source, candidate, result)
    _sizes(source, candidate, result)
    _date(source, candidate, result)
    _variants(source, candidate, result)
    _words(source, candidate, result)
    if not result.against:
        _weigh(source, candidate, result, chats=chats)
    return result


def _versions(source: Identity, candidate: Identity, result: Comparison) -> None:
    own, other = source.versions, candidate.versions
    if own and other and not (own <= other or other <= own):
        result.refuse(f"version {_said(own)} is not {_said(other)}", contradiction=True)
    elif own - other:
        result.refuse(f"it does not say version {_said(own - other)}")
    elif not other - own <= candidate.releases:
        result.refuse(f"only it says version {_said(other - own)}")
    elif other - own:
        result.open.append(f"version {_said(other - own)}")
    if own & other:
        result.anchors += 1
        result.version_agrees = True
        result.agreed.append(f"version {_said(own & other)}")


def _sizes(source: Identity, candidate: Identity, result: Comparison) -> None:
    own, other = source.sizes, candidate.sizes
    if own and other and not (own <= other or other <= own):
        result.refuse(f"size {_said(own)} is not {_said(other)}", contradiction=True)
    elif own and not other and candidate.active:
        result.refuse(f"it does not say size {_said(own)}")
    elif own != other:
        result.open.append(f"size {_said(own ^ other)}")
    if own & other:
        result.anchors += 1
        result.agreed.append(f"size {_said(own & other)}")
    if source.active and candidate.active:
        if source.active != candidate.active:
            result.refuse(f"active size {source.active} is not {candidate.active}", contradiction=True)
        else:
            result.agreed.append(f"active size {source.active}")
            result.anchors += not own & other


def _date(source: Identity, candidate: Identity, result: Comparison) -> None:
    own, other = source.date, candidate.date
    if own and other:
        if not same_date(own, other):
            result.refuse(f"date {own} is not {other}", contradiction=True)
        else:
            result.anchors += 1
            result.date_agrees = True
            result.agreed.append(f"date {own}")
    elif own and len(own) == WHOLE_DATE and result.version_agrees:
        # Dated to the day, it is a snapshot of what the undated name stands for; "0324" is part of a release's name.
        result.open.append(f"date {own}")
    elif own:
        result.refuse(f"it does not say the date {own}")
    elif other:
        result.open.append(f"date {other}")


def same_date(one: str, other: str) -> bool:
    """Whether two dates agree as far as both say: "20250728", "2507" and "0728" do."""
    return one == other or bool(_readings(one) & _readings(other))


def _readings(date: str) -> set[str]:
    if len(date) == 8:
        return {date, date[2:6], date[4:]}
    return {date[2:], date} if len(date) == 6 else {date}


def _variants(source: Identity, candidate: Identity, result: Comparison) -> None:
    own = source.variants - {NOT_THINKING}
    if own != candidate.variants:
        result.refuse(f"one of them is {_said(own ^ candidate.variants)}, the other is not")
    elif source.instruct and not candidate.instruct:
        result.refuse("it does not say that it follows instructions")
    elif own or source.instruct:
        result.agreed.append(f"variant {_said(own) or 'instruct'}")
    if own != source.variants:
        result.open.append("thinking is switched off")
    if source.quantisations != candidate.quantisations:
        if source.quantisations or not candidate.quantisations <= MAY_BE_LEFT_OUT:
            result.refuse(
                f"quantisation {_said(source.quantisations) or 'unsaid'} is not "
                f"{_said(candidate.quantisations) or 'unsaid'}"
            )
        else:
            result.open.append(f"quantisation {_said(candidate.quantisations)}")
    if source.context and candidate.context and source.context != candidate.context:
        result.refuse(f"context {source.context} is not {candidate.context}", contradiction=True)
    elif source.context != candidate.context:
        result.open.append(f"context {source.context or candidate.context}")


def _words(source: Identity, candidate: Identity, result: Comparison) -> None:
    apart = {word for word in source.words ^ candidate.words if not is_maker_word(word, candidate.organisation)}
    if not apart:
        result.words_score = 100.0
        if source.words & candidate.words:
            result.agreed.append(f"family {' '.join(sorted(source.words & candidate.words))}")
        return
    if apart == {"preview"} <= source.words and source.date and same_date(source.date, candidate.date or "-"):
        # The date tells better what it was than that it once was new.
        result.words_score = 100.0
        result.open.append("preview")
        return
    result.words_score = 100.0 if source.joined == candidate.joined else fuzz.ratio(source.joined, candidate.joined)
    if result.words_score < NEAR or (result.words_score < 100 and not _pairs_up(apart, source, candidate)):
        result.refuse(f"{_said(apart)} stands in only one of them")
    elif apart & TIERS:
        result.refuse(f"{_said(apart & TIERS)} stands in only one of them")
    elif result.open and result.words_score < 100:
        result.refuse(f"the words are only alike, and {result.open[0]} is open")


def _pairs_up(apart: set[str], source: Identity, candidate: Identity) -> bool:
    """Whether the words that differ could be other spellings of each other; a word too many is another model."""
    own, other = "".join(sorted(apart & source.words)), "".join(sorted(apart & candidate.words))
    return min(len(own), len(other)) >= SHORTEST_SPELLING and fuzz.ratio(own, other) >= NEAR


def _weigh(source: Identity, candidate: Identity, result: Comparison, *, chats: bool) -> None:
    """What a name leaves open must be borne by as much that agrees."""
    dated = any(one.startswith("date") for one in result.open)
    if dated and not result.version_agrees:
        result.refuse(f"{result.open[-1]} is open, and a name with neither date nor version moves on")
    elif len(result.open) > result.anchors:
        result.refuse(f"{', '.join(result.open)} open, and too little agrees")
    elif candidate.instruct and not source.instruct:
        # The base model and the chat model of one release share its date.
        if not result.anchors - (result.date_agrees and not chats):
            result.refuse("variant instruct is open, and neither version nor size agrees")
        else:
            result.open.append("variant instruct")


def _said(tokens: frozenset[str] | set[str]) -> str:
    return " ".join(sorted(tokens))
