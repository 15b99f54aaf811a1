"""Entity resolution: which candidate (a repository on Hugging Face, say) a source's model is, with the reason.

A join is made by rule, never by likeness alone: the operator's word first, then names that say the same, then names of
which one leaves something open that the rest makes up for, then names whose words are spelt a little differently while
every typed token agrees. All else is `unknown`. A resolver keeps nothing: leaving an override out brings back what the
rules say.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.router.resolving.makers import HOMES, is_maker_word, maker_of, same_maker
from services.router.resolving.overrides import ANY, Overrides
from services.router.resolving.rules import Comparison, compare
from services.router.resolving.tokens import Identity, parse

UNKNOWN = "unknown"
CHATS = frozenset({"lmarena"})
"""Sources that only list models that follow instructions, and therefore seldom say so."""
_Order = tuple[int, int, int]
EXPLAINED = 3
"""How many of the nearest misses an explanation names."""


@dataclass(frozen=True)
class Match:
    """What a name was resolved to."""

    candidate: str | None
    """None = unknown."""
    rule: str
    """override, exact, open, spelling or unknown."""
    score: float
    """0–1: 1 for a rule that leaves nothing open, less for each token left open or letter that differs."""
    explanation: str
    """What agreed, what was left open, or why nothing was joined."""


class Resolver:
    """Resolves names against a fixed pool of candidates, which are taken apart once."""

    def __init__(self, candidates: Iterable[str], overrides: Overrides | None = None) -> None:
        self._overrides = overrides or Overrides()
        self._parsed = {name: parse(name) for name in dict.fromkeys(candidates)}
        self._by_organisation: dict[str, list[str]] = {}
        self._by_word: dict[str, set[str]] = collections.defaultdict(set)
        for name, identity in self._parsed.items():
            self._by_organisation.setdefault(identity.organisation, []).append(name)
            for word in identity.words:
                self._by_word[word].add(name)
        self._lowered = {name.lower(): name for name in self._parsed}

    def resolve(self, name: str, source: str, also: Sequence[str] = ()) -> Match:
        """What a source's model is. `also`: other names the source gives it, such as a display name."""
        decided = self._by_operator(name, source)
        if decided is not None:
            return decided
        if self._overrides.barred(source, name, ANY):
            return Match(None, UNKNOWN, 0.0, f"the operator says that {source}'s {name} is none of the candidates")
        named = parse(name)
        organisation = named.organisation
        readings = [named, *(parse(other, organisation) for other in also)]
        pool = self._reachable(readings)
        chats = source in CHATS
        match = self._judge(readings, pool, chats=chats)
        if match.candidate is None:
            left = [one for one in pool if not self._overrides.barred(source, name, one)]
            return match if len(left) == len(pool) else self._judge(readings, left, chats=chats)
        if self._overrides.barred(source, name, match.candidate):
            # Whoever split it did not thereby ask for the second best.
            return Match(None, UNKNOWN, 0.0, f"the operator says that it is not {match.candidate}")
        return match

    def _by_operator(self, name: str, source: str) -> Match | None:
        wanted = self._overrides.joined(source, name)
        if wanted is None or self._overrides.barred(source, name, wanted):
            return None
        # The operator may know a candidate that nobody has listed yet.
        return Match(self._lowered.get(wanted.lower(), wanted), "override", 1.0, "the operator says so")

    def _reachable(self, readings: Sequence[Identity]) -> list[str]:
        """The candidates that a name could mean at all."""
        organisation = readings[0].organisation
        if organisation:
            return [
                name for own, names in self._by_organisation.items() if same_maker(organisation, own) for name in names
            ]
        found: set[str] = set()
        for reading in readings:
            for word in reading.words:
                found |= self._by_word.get(word, set())
                # The family may stand only in the organisation's name.
                for home in HOMES.get(word, ()):
                    for own, names in self._by_organisation.items():
                        if maker_of(own) == home:
                            found.update(names)
        return sorted(found)

    def _judge(self, readings: Sequence[Identity], pool: Sequence[str], *, chats: bool) -> Match:
        best: dict[str, tuple[_Order, Comparison]] = {}
        misses: list[tuple[float, str, str]] = []
        for name in pool:
            compared = [compare(reading, self._parsed[name], chats=chats) for reading in readings]
            contradicted = next((one for one in compared if one.contradiction), None)
            allowed = (
                [] if contradicted else [(_order(one, at), one) for at, one in enumerate(compared) if not one.against]
            )
            if allowed:
                best[name] = min(allowed, key=lambda pair: pair[0])
            elif any(one.words_score >= 100 for one in compared):
                why = (contradicted or compared[0]).against
                misses.append((-max(one.anchors for one in compared), name, why))
        if not readings[0].organisation:
            best = self._at_home(readings, best)
        if not best:
            return Match(None, UNKNOWN, 0.0, _missed(misses))
        least = min(order for order, _ in best.values())
        nearest = sorted(name for name, (order, _) in best.items() if order == least)
        if len({self._said(name) for name in nearest}) > 1:
            return Match(None, UNKNOWN, 0.0, f"it could be any of {', '.join(nearest[:EXPLAINED])}")
        # One model under two ids: another format of it, or a repository that was renamed; sources keep the fuller one.
        formats = readings[0].formats
        name = max(
            nearest, key=lambda one: (-len(self._parsed[one].formats ^ formats), len(_tail(one)), -len(one), one)
        )
        return _joined(name, best[name][1], [other for other in nearest if other != name])

    def _said(self, name: str) -> tuple[object, ...]:
        identity = self._parsed[name]
        words = frozenset(word for word in identity.words if not is_maker_word(word, identity.organisation))
        return maker_of(identity.organisation), words, identity.context, *identity.key[1:]

    def _at_home(
        self, readings: Sequence[Identity], found: dict[str, tuple[_Order, Comparison]]
    ) -> dict[str, tuple[_Order, Comparison]]:
        """Without an organisation, a family's own maker is meant; anybody may have copied the name."""
        words = frozenset().union(*(reading.words for reading in readings))
        homes = {home for word in words for home in HOMES.get(word, ())}
        own = {name: one for name, one in found.items() if maker_of(self._parsed[name].organisation) in homes}
        if own or all(word in HOMES for word in words):
            return own
        return found


def _tail(name: str) -> str:
    return name.rpartition("/")[2]


def _order(one: Comparison, at: int) -> _Order:
    """What a comparison assumes, least first: words spelt otherwise, tokens left open, a name that is not the id."""
    return int(one.words_score < 100), len(one.open), at


def _joined(name: str, one: Comparison, others: Sequence[str]) -> Match:
    agreed = ", ".join(one.agreed) or "the name"
    told = f"{agreed} agree{'s' if len(one.agreed) == 1 else ''}"
    if one.words_score < 100:
        rule, score = "spelling", one.words_score / 100
        told += f"; the words are {one.words_score:.0f} % alike"
    elif one.open:
        rule, score = "open", 1 - 0.1 * len(one.open)
        told += f"; left open: {', '.join(one.open)}"
    else:
        rule, score = "exact", 1.0
    if others:
        told += f"; also known as {', '.join(others[:EXPLAINED])}"
    return Match(name, rule, round(score, 3), told)


def _missed(misses: list[tuple[float, str, str]]) -> str:
    if not misses:
        return "no candidate has these words"
    return "; ".join(f"not {name}: {why}" for _, name, why in sorted(misses)[:EXPLAINED])
