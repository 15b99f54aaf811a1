"""Finds private values: one pass for each shape over all texts at once, in time linear in their length."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence

from mesh import mail_addresses, secret_shapes
from mesh.errors import MeshError, Reason
from mesh.mail_addresses import EMAIL
from mesh.secret_shapes import Tries
from services.gateway.redaction import addresses, numbers, phones
from services.gateway.redaction.kinds import (
    CARD,
    CRYPTO,
    IBAN,
    IP,
    KINDS,
    NATIONAL_ID,
    PHONE,
    RANK,
    REGIONS,
    SSN,
    Match,
)

Find = Callable[[bytes, Tries], Iterator[secret_shapes.Found]]
_FINDERS: dict[str, Find] = {
    **secret_shapes.FINDERS,
    EMAIL: mail_addresses.emails,
    IBAN: numbers.accounts,
    CARD: numbers.cards,
    SSN: numbers.social_security,
    NATIONAL_ID: numbers.national_ids,
    CRYPTO: addresses.wallets,
    IP: addresses.ip_addresses,
}
MOST_TRIED = 6_000
"""How many candidates of one request are looked at, dear ones counting as several and values once more: about 25 ms."""
_DIGITS = frozenset({IBAN, CARD, SSN, NATIONAL_ID, CRYPTO, PHONE})
"""Kinds that hold digits whatever they are."""


def find(text: str, kinds: Collection[str] = KINDS, regions: Sequence[str] = REGIONS) -> list[Match]:
    """The private values in a text, in their order and apart from each other; places are in characters.
    Raises TOO_LARGE for a text with more candidates than are looked at."""
    data = text.encode("utf-8", "surrogatepass")
    tries = Tries(MOST_TRIED)
    found = settled(candidates(data, kinds, regions, tries))
    if tries.spent:
        raise too_many()
    if text.isascii():
        return found
    places = _characters(data, sorted({place for one in found for place in (one.start, one.end)}))
    return [Match(one.kind, places[one.start], places[one.end]) for one in found]


def candidates(data: bytes, kinds: Collection[str], regions: Sequence[str], tries: Tries) -> Iterator[Match]:
    """What looks like a private value, in bytes of UTF-8, one kind after the other; a NUL is never within one."""
    digits = any(one in data for one in b"0123456789")
    for kind in KINDS:
        if kind not in kinds or (kind in _DIGITS and not digits):
            continue
        finder = functools.partial(phones.phones, regions=regions) if kind == PHONE else _FINDERS[kind]
        for name, start, end in finder(data, tries):
            tries.left -= 1
            yield Match(name, start, end)


def settled(found: Iterator[Match]) -> list[Match]:
    """Without overlaps: what overlaps becomes one, named by the kind of the higher rank."""
    kept: list[Match] = []
    for one in sorted(found, key=lambda match: (match.start, -match.end)):
        last = kept[-1] if kept else None
        if last is None or one.start >= last.end:
            kept.append(one)
        else:
            kind = min(last.kind, one.kind, key=RANK.__getitem__)
            kept[-1] = Match(kind, last.start, max(last.end, one.end))
    return kept


def too_many() -> MeshError:
    """What a request gets that cannot be looked through to its end: nothing of it goes on unseen."""
    return MeshError(
        Reason.TOO_LARGE,
        "The request holds too many texts that look like private values or could be some (long lists of numbers, "
        "addresses or keys) to look at each: send it in parts, or have fewer kinds looked for.",
        metadata={"field": "redaction"},
    )


def _characters(data: bytes, places: list[int]) -> dict[int, int]:
    """The places of bytes as places of characters."""
    known, count, at = {}, 0, 0
    for place in places:
        count += len(data[at:place].decode("utf-8", "surrogatepass"))
        known[place], at = count, place
    return known
