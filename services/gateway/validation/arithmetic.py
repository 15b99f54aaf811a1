"""Whether the sums of an answer are right: "a op b = c", read by a walker of our own, never evaluated as code."""

from __future__ import annotations

import decimal
import itertools
import re
from decimal import Decimal

from services.gateway.validation.effort import Effort
from services.gateway.validation.outcome import UNCHECKED, Outcome, judged
from services.gateway.validation.subject import ARITHMETIC, ERROR, Finding

READ_CHARACTERS_MAX = 40_000
SUMS_MAX = 200
LEFT_CHARACTERS_MAX, RIGHT_CHARACTERS_MAX = 120, 40
"""How far from an equals sign numbers are looked for."""
TERMS_MAX = 12
"""The most numbers on the left side of one sum."""
DIGITS_MAX = 18
POWER_MAX = 20
_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,5}(?!\d)|\d{1,18})(?:\.\d{1,12})?"
_SIGN = r"(?:\*\*|[+*/×·÷^−–-]|(?<=\s)x(?=\s)|\\times|\\cdot|\\div)"
_SUM = re.compile(
    rf"(?<![\w.,^=+*/×·÷−–-])(?P<left>[-−]?[$€£]?{_NUMBER}(?:\s?{_SIGN}\s?[$€£]?{_NUMBER}){{1,{TERMS_MAX - 1}}})"
    rf"\s?(?P<equals>=|≈|~=)\s?(?P<right>[-−]?[$€£]?{_NUMBER})(?![\w]|[.,]\d|\s?{_SIGN}|\s?[%:/]|\s?\()"
)
_EQUALS = re.compile(r"=|≈")
_PIECE = re.compile(rf"{_NUMBER}|{_SIGN}")
_PLAIN = {
    "×": "*",
    "·": "*",
    "\\times": "*",
    "\\cdot": "*",
    "÷": "/",
    "\\div": "/",
    "−": "-",
    "–": "-",
    "^": "**",
    "x": "*",
}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 3}
_CONTEXT = decimal.Context(prec=40, Emax=10_000, Emin=-10_000, traps=[decimal.InvalidOperation, decimal.DivisionByZero])
_INLINE = re.compile(r"`[^`\n]{1,200}`")
_BEFORE = re.compile(r"[=+*/×·÷^−–(%-]\s?$|\\(?:times|cdot|div)\s?$")


def check(text: str, effort: Effort) -> Outcome:
    """What is to be said of the sums outside code (the caller has blanked it); without any sum nothing is checked."""
    findings: list[Finding] = []
    checked = 0
    text = _INLINE.sub(_blank, text[:READ_CHARACTERS_MAX])
    last = 0
    for equals in itertools.islice(_EQUALS.finditer(text), SUMS_MAX):
        if not effort.is_left():
            break
        match = _SUM.search(text, max(last, equals.start() - LEFT_CHARACTERS_MAX), equals.end() + RIGHT_CHARACTERS_MAX)
        last = equals.end()
        # A piece of a longer formula is no sum by itself.
        if match is None or _BEFORE.search(text[max(0, match.start() - 8) : match.start()]):
            continue
        value = evaluate(match["left"])
        if value is None:
            continue
        checked += 1
        said = _decimal(match["right"])
        if not _agrees(value, said, match["equals"] != "="):
            wrong = f"{match['left'].strip()} is {_shown(value)}, not {match['right'].strip()}"
            findings.append(Finding(ARITHMETIC, ERROR, wrong, match.start(), match.end()))
    return judged(findings, warned=0.8, failed=0.5) if checked else UNCHECKED


def evaluate(left: str) -> Decimal | None:
    """The value of numbers with + - * / and small powers between them; None = not a sum that is checked."""
    text = left.replace("$", "").replace("€", "").replace("£", "").strip()
    is_negative = text[:1] in "-−"
    pieces = _PIECE.findall(text[1:] if is_negative else text)
    numbers, signs = [_decimal(piece) for piece in pieces[::2]], [_PLAIN.get(one, one) for one in pieces[1::2]]
    if len(numbers) != len(signs) + 1 or len(numbers) > TERMS_MAX or any(sign not in _RANK for sign in signs):
        return None
    try:
        with decimal.localcontext(_CONTEXT):
            return _walk(numbers, signs, is_negative)
    except (decimal.DecimalException, ArithmeticError, ValueError):
        return None


def _walk(numbers: list[Decimal], signs: list[str], is_negative: bool) -> Decimal:
    """Powers, then products from the left, then sums from the left."""
    for rank in (3, 2, 1):
        if is_negative and rank == 2:
            numbers[0] = -numbers[0]
        places = [index for index, sign in enumerate(signs) if _RANK[sign] == rank]
        # Powers bind from the right.
        for done, index in enumerate(reversed(places) if rank == 3 else places):
            at = index if rank == 3 else index - done
            numbers[at : at + 2] = [_apply(numbers[at], signs[at], numbers[at + 1])]
            del signs[at]
    return numbers[0]


def _apply(one: Decimal, sign: str, other: Decimal) -> Decimal:
    if sign == "+":
        return one + other
    if sign == "-":
        return one - other
    if sign == "*":
        return one * other
    if sign == "/":
        return one / other
    if other != other.to_integral_value() or abs(other) > POWER_MAX or len(one.as_tuple().digits) > DIGITS_MAX:
        raise ValueError("a power that is not checked")
    return Decimal(one ** int(other))


def _decimal(text: str) -> Decimal:
    plain = text.strip().replace("−", "-")
    for sign in "$€£,":
        plain = plain.replace(sign, "")
    return Decimal(plain)


def _agrees(value: Decimal, said: Decimal, is_about: bool) -> bool:
    """Whether `said` is the value, or the value rounded or cut to the places that `said` has."""
    exponent = said.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    step = Decimal(1).scaleb(-places)
    if abs(value - said) < step and (places or is_about or value != value.to_integral_value()):
        return True
    return value == said or (is_about and abs(value - said) <= abs(value) * Decimal("0.05"))


def _blank(found: re.Match[str]) -> str:
    return " " * len(found.group())


def _shown(value: Decimal) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < Decimal(10) ** 21 else f"{value:.3e}"
    return text or "0"
