"""Numbers of persons that carry a proof of themselves: payment cards, accounts, identity numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mesh.secret_shapes import Tries, shape
from services.gateway.redaction.kinds import CARD, IBAN, NATIONAL_ID, SSN

_CARD = shape(
    rb"\b(?:[2-6][0-9]{3}(?:[ -]|\xc2\xa0)[0-9]{4}(?:[ -]|\xc2\xa0)[0-9]{4}(?:[ -]|\xc2\xa0)[0-9]{4}"
    rb"|[2-6][0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5})\b"
    rb"|(?:\A|[^-.,/_]|[^0-9A-Za-z][-./_]|[^0-9],|\A[-.,/_])\b[2-6][0-9]{12,18}\b"
)
"""A number in one piece brings along what stands before it: the places of decimals are no candidates."""
_GROUP = re.compile(rb"[0-9]+")
_NO_DIGIT = re.compile(rb"[^0-9]+")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_ISSUERS = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    rb"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
    rb"|(?:5[06-8]|6\d)\d{10,17}"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro: their first digits and lengths."""
_IBAN = shape(rb"(?i)\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b")
_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 "
    "EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 "
    "KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 "
    "PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 "
    "VA22 VG24 XK20 YE30"
)
IBAN_LENGTH = {one[:2].encode(): int(one[2:]) for one in _IBAN_LENGTHS.split()}
"""How many characters an account number of a country has (ISO 13616)."""
_SSN = shape(rb"\b[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}\b")
_SSN_PLAIN = re.compile(rb"\b[0-9]{9}\b")
_SSN_NAMED = shape(rb"(?i)\bSSNs?\b|social[ -]security")
_SSN_NAMED_NEAR = re.compile(rb"(?i)\bSSNs?\b|social[ -]security")
"""The same for a few bytes."""
_CPF = shape(rb"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b")
_NIR = shape(rb"\b[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b")
_DNI = shape(rb"\b(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z]\b")
_AADHAAR = shape(rb"\b[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}\b")
_PESEL = shape(rb"(?i)\bPESEL\b[^0-9\x00]{0,12}([0-9]{11})\b")
_NINO = shape(rb"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b")
_DNI_LETTERS = b"TRWAGMYFPDXBNJZSQVHLCKE"
_D5 = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043",
       "8765932104", "9876543210")  # fmt: skip
_PERMUTED = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_TWICE = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
"""What a digit counts as in Luhn's sum, and each second one."""
_BASE36 = {one: str(int(chr(one), 36)) for one in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
SPAN_BYTES = 48
"""How far from its name a number without a proof may stand."""


def luhn(digits: bytes) -> bool:
    """Whether the last digit proves the others (ISO 7812)."""
    return (sum(digits[::-2].translate(_ONCE)) + sum(digits[-2::-2].translate(_TWICE))) % 10 == 0


def mod97(account: bytes) -> bool:
    """Whether an account number's two digits prove it (ISO 7064)."""
    # 00, 01 and 99 are never given.
    return (
        b"02" <= account[2:4] <= b"98" and int("".join([_BASE36[one] for one in account[4:] + account[:4]])) % 97 == 1
    )


def verhoeff(digits: bytes) -> bool:
    """Whether the last digit proves the others by Verhoeff's scheme."""
    check = 0
    for index, one in enumerate(reversed(digits)):
        check = int(_D5[check][int(_PERMUTED[index % 8][one - 48])])
    return check == 0


def cards(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Payment cards: an issuer's digits, its length, and the check digit."""
    at = 0
    while not tries.spent and (match := _CARD.search(data, at)) is not None:
        tries.left -= 2
        end = match.end()
        written = match.group().lstrip(_NO_DIGITS)
        start, digits = end - len(written), _NO_DIGIT.sub(b"", written)
        if len(set(digits)) > 1 and _ISSUERS.fullmatch(digits) and luhn(digits) and _stands_alone(data, start, end):
            at = end
            yield CARD, start, end
        else:
            # The number may begin with its second group.
            first = _GROUP.match(data, start)
            at = end if first is None else first.end()


def _stands_alone(data: bytes, start: int, end: int) -> bool:
    """Not a part of a longer number or name, such as a decimal or an identifier with dashes."""
    before, after = data[max(0, start - 2) : start], data[end : end + 2]
    if before[-1:] == b",":
        # In a table a name may stand before the comma, or a number before one that has gaps.
        if before[:1].isdigit() and data[start:end].isdigit():
            return False
    elif before[-1:] in b"-./_" and before[:1].isalnum() and before[-1:]:
        return False
    return not (after[:1] in b"-_/" and after[1:].isalnum() and after[:1])


def accounts(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Bank accounts as IBAN: a country's length, and the two check digits."""
    at = 0
    while not tries.spent and (match := _IBAN.search(data, at)) is not None:
        tries.left -= 2
        start = match.start()
        at = start + 4
        found = match.group().upper()
        length = IBAN_LENGTH.get(found[:2])
        if length is None:
            continue
        compact = found.translate(None, b" -")[:length]
        if len(compact) < length or not mod97(compact):
            continue
        end = start + [place for place, one in enumerate(found) if one not in b" -"][length - 1] + 1
        if not data[end : end + 1].isalnum():
            at = end
            yield IBAN, start, end


def social_security(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Social security numbers of the USA: with dashes as they are, otherwise behind their name."""
    for match in tries.of(_SSN, data, 2):
        start, end = match.span()
        plain = data[start + 3 : start + 4] == data[start + 6 : start + 7] == b"-"
        if (plain or _named_before(data, start)) and _is_ssn(data[start:end]) and _stands_alone(data, start, end):
            yield SSN, start, end
    for name in tries.of(_SSN_NAMED, data, 2):
        near = data[name.end() : name.end() + SPAN_BYTES].partition(b"\x00")[0]
        match = _SSN_PLAIN.search(near)
        if match is not None and _is_ssn(match.group()):
            yield SSN, name.end() + match.start(), name.end() + match.end()


def _named_before(data: bytes, start: int) -> bool:
    near = data[max(0, start - SPAN_BYTES) : start].rpartition(b"\x00")[2]
    return _SSN_NAMED_NEAR.search(near) is not None


def _is_ssn(found: bytes) -> bool:
    digits = _NO_DIGIT.sub(b"", found)
    return digits[:3] not in (b"000", b"666") and digits[:1] != b"9" and digits[3:5] != b"00" and digits[5:] != b"0000"


def national_ids(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Identity numbers with a proof: Brazil, France, Spain, India, Poland; and Britain's by their shape."""
    for pattern, holds in ((_CPF, is_cpf), (_NIR, is_nir), (_DNI, is_dni), (_AADHAAR, is_aadhaar), (_NINO, _is_nino)):
        for match in tries.of(pattern, data):
            if holds(match.group()) and _stands_alone(data, *match.span()):
                yield NATIONAL_ID, *match.span()
    for match in tries.of(_PESEL, data, 2):
        if is_pesel(match.group(1)):
            yield NATIONAL_ID, *match.span(1)


def is_cpf(found: bytes) -> bool:
    """Brazil's CPF: two digits modulo 11."""
    digits = [one - 48 for one in _NO_DIGIT.sub(b"", found)]
    if len(set(digits)) == 1:
        return False
    for count in (9, 10):
        check = sum(digit * (count + 1 - index) for index, digit in enumerate(digits[:count])) * 10 % 11 % 10
        if check != digits[count]:
            return False
    return True


def is_nir(found: bytes) -> bool:
    """France's number of social insurance: 97 minus the rest."""
    plain = found.replace(b" ", b"").replace(b"2A", b"19").replace(b"2B", b"18")
    return len(plain) == 15 and plain.isdigit() and 97 - int(plain[:13]) % 97 == int(plain[13:])


def is_dni(found: bytes) -> bool:
    """Spain's DNI and NIE: a letter modulo 23."""
    plain = found.replace(b"-", b"")
    number = plain[:-1].replace(b"X", b"0").replace(b"Y", b"1").replace(b"Z", b"2")
    return _DNI_LETTERS[int(number) % 23] == plain[-1]


def is_aadhaar(found: bytes) -> bool:
    """India's Aadhaar: Verhoeff's check digit."""
    digits = _NO_DIGIT.sub(b"", found)
    return len(set(digits)) > 2 and verhoeff(digits)


def is_pesel(found: bytes) -> bool:
    """Poland's PESEL: a weighted sum, and a month that is one."""
    digits = [one - 48 for one in found]
    weighted = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9) * 3, strict=False))
    month = (digits[2] * 10 + digits[3]) % 20
    weighted -= digits[10] * 7
    return 1 <= month <= 12 and (10 - weighted % 10) % 10 == digits[10]


def _is_nino(found: bytes) -> bool:
    return found[:2] not in (b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ")
