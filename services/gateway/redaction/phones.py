"""Telephone numbers: shapes found in one pass, each proved by the numbering plan of its country.

With a country code a number stands for itself. Without one, ten digits are more often an order or a date: they
count when they are written as North Americans write them, or when a word such as "call" stands before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import phonenumbers

from mesh.secret_shapes import Tries, shape
from services.gateway.redaction.kinds import PHONE

_SEP = rb"(?:[ .\-/]|\xc2\xa0|\xe2\x80[\x90\x91\x93]|\) ?|[ .\-]?\(| - )"
_WITH_CODE = shape(rb"(?:\+|\xef\xbc\x8b|\b00[ ]?)[1-9](?:" + _SEP + rb"?[0-9]){6,14}\b")
_AMERICAN = shape(rb"(?:\b1[ .-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-. ][0-9]{4}\b")
_NATIONAL = re.compile(rb"\(?\b[0-9](?:" + _SEP + rb"?[0-9]){6,12}\b")
_WORDS = shape(
    (
        "(?i)(?:\\b(?:tel|tél|phones?|telephone|cell(?:phone)?|mobile|fax|whatsapp|sms|call(?:ed|ing|s)?|text me|dial"
        "|ring|reach(?:ed)?|contact|handy|telefon(?:nummer|o|e)?|mobil(?:nummer)?|ruf|rufen|anrufen|erreich[a-z]*"
        "|téléphone|portable|appele[zr]|joindre|teléfono|móvil|celular|llám[a-z]*|llama[a-z]*"
        "|cellulare|chiam[a-z]*|telefoon|bel|bellen|ligue|ligar|komórk[a-z]*|zadzwoń|dzwoni[a-z]*)\\b"
        "|телефон|тел\\.|звон|電話|电话|手机|携帯|전화|फ़ोन|फोन|मोबाइल|هاتف)"
    ).encode()
)
NEAR_BYTES = 48
"""How far behind such a word a number may begin."""
_DATE = re.compile(
    rb"\(?(?:(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d)\b"
)
_DECIMAL = re.compile(rb"\d+\.\d+")
_AROUND = b"+-_/.#$="
MOST_PROVED = 384
"""How many different numbers of one text are looked up; a text with more is a list, whose numbers count unproved."""


def phones(data: bytes, tries: Tries, regions: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Telephone numbers."""
    proved: dict[tuple[bytes, str], bool] = {}
    for match in tries.of(_WITH_CODE, data, 2):
        start, end = match.span()
        if data[max(0, start - 1) : start].isalnum():
            continue
        found = match.group()
        written = b"+" + found[2:] if found.startswith(b"00") else found
        yield from _longest(data, start, end, written, len(found) - len(written), proved)
    if b"-" in data or b"." in data or b")" in data:
        for match in tries.of(_AMERICAN, data):
            if _apart(data, *match.span()) and _proved(match.group(), "US", proved):
                yield PHONE, *match.span()
    until = 0
    for word in tries.of(_WORDS, data, 6):
        at = max(word.end(), until)
        near = data[at : word.end() + NEAR_BYTES + 24].partition(b"\x00")[0]
        for match in _NATIONAL.finditer(near):
            start, end = at + match.start(), at + match.end()
            if start - word.end() > NEAR_BYTES:
                break
            if _DATE.match(near, match.start()) or _DECIMAL.fullmatch(match.group()) or not _apart(data, start, end):
                continue
            if any(_proved(match.group(), region, proved) for region in regions):
                until = end
                yield PHONE, start, end
                break


def _longest(
    data: bytes, start: int, end: int, written: bytes, shift: int, proved: dict[tuple[bytes, str], bool]
) -> Iterator[tuple[str, int, int]]:
    """The number, or its longest beginning that is one where another number follows it."""
    for _ in range(3):
        if _proved(written, "", proved):
            yield PHONE, start, end
            return
        cut = max(written.rfind(sep) for sep in (b" ", b"-", b".", b"/"))
        if cut < 7:
            return
        written = written[:cut].rstrip(b" -.(/")
        end = start + len(written) + shift


def _apart(data: bytes, start: int, end: int) -> bool:
    """Not a part of a longer number, an identifier, an amount or a path."""
    before, after = data[max(0, start - 1) : start], data[end : end + 2]
    if before and (before.isalnum() or before in _AROUND):
        return False
    return not (after[:1] in (b"-", b".", b"/", b"_", b",") and after[1:].isdigit()) and after[:1] not in (b"%", b"_")


def _proved(written: bytes, region: str, proved: dict[tuple[bytes, str], bool]) -> bool:
    known = proved.get((written, region))
    if known is not None:
        return known
    if len(proved) >= MOST_PROVED:
        return True
    try:
        number = phonenumbers.parse(written.decode("utf-8", "replace"), region or None)
        holds = phonenumbers.is_valid_number(number)
    except phonenumbers.NumberParseException:
        holds = False
    proved[written, region] = holds
    return holds
