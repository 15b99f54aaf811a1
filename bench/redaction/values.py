"""Private values drawn by lot, by kind, each valid by the rules of who issues them; written without DAC's own code."""

import base64
import hashlib
import json
import random
import string
from collections.abc import Callable, Mapping

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "BR", "MX", "IN", "JP", "AU", "CN", "ZA", "SE", "UA", "KR")
NAMES = ("anna", "bob.smith", "maria_k", "j-doe", "tom.o", "info2", "max.müller", "zoë", "peter+news", "x.y.z",
         "li.wei", "support")  # fmt: skip
HOSTS = ("example.org", "mail.example.com", "corp-mail.de", "uni-köln.de", "foo.co.uk", "firma.io", "shop.museum",
         "dev.local.app", "a-b.fr")  # fmt: skip
ACCOUNTS = {"DE": 18, "FI": 14, "BE": 12, "ES": 20, "PL": 24, "DK": 14, "AT": 16, "CZ": 20, "SE": 20, "CH": 17}
B58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
B32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
ALNUM = string.ascii_letters + string.digits
Draw = random.Random


def digits(draw: Draw, count: int) -> str:
    """So many digits."""
    return "".join(draw.choice(string.digits) for _ in range(count))


def of(draw: Draw, alphabet: str, count: int) -> str:
    """So many characters."""
    return "".join(draw.choice(alphabet) for _ in range(count))


def email(draw: Draw) -> str:
    """An address."""
    return f"{draw.choice(NAMES)}{draw.choice(['', digits(draw, 2)])}@{draw.choice(HOSTS)}"


def phone(draw: Draw, country: str, form: str) -> str:
    """A number of a country, in one of three forms; it is like the example of its plan, with other last digits."""
    kind = draw.choice([PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE])
    number = phonenumbers.example_number_for_type(country, kind)
    assert number is not None
    text = str(number.national_number)
    for _ in range(50):
        number.national_number = int(text[:-4] + digits(draw, 4))
        if phonenumbers.is_valid_number(number):
            break
    forms = {
        "e164": PhoneNumberFormat.E164,
        "international": PhoneNumberFormat.INTERNATIONAL,
        "national": PhoneNumberFormat.NATIONAL,
    }
    return str(phonenumbers.format_number(number, forms[form]))


def check_digit(body: str) -> str:
    """The digit that makes the sum of ISO 7812 divide by ten."""
    doubled = [int(one) * (2 if at % 2 == 0 else 1) for at, one in enumerate(reversed(body))]
    return str(-sum(one // 10 + one % 10 for one in doubled) % 10)


def card(draw: Draw) -> str:
    """A card, plain or in groups."""
    prefix, length = draw.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("3530", 16),
            ("36", 14),
        ]
    )
    body = prefix + digits(draw, length - len(prefix) - 1)
    number = body + check_digit(body)
    groups = (4, 6, 5) if length == 15 else (4, 6, 4) if length == 14 else (4, 4, 4, 4)
    sep = draw.choice(["", " ", "-"])
    parts, at = [], 0
    for size in groups:
        parts.append(number[at : at + size])
        at += size
    return sep.join(parts)


def iban(draw: Draw) -> str:
    """An account, plain or in groups of four."""
    country = draw.choice(list(ACCOUNTS))
    body = digits(draw, ACCOUNTS[country])
    number = int(body + "".join(str(ord(one) - 55) for one in country) + "00")
    text = f"{country}{98 - number % 97:02d}{body}"
    return text if draw.random() < 0.5 else " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def ssn(draw: Draw) -> str:
    """A number that could have been given out."""
    area = draw.choice([one for one in range(1, 900) if one != 666])
    return f"{area:03d}-{draw.randrange(1, 100):02d}-{draw.randrange(1, 10000):04d}"


def _cpf(draw: Draw) -> str:
    body = [draw.randrange(10) for _ in range(9)]
    for first in (10, 11):
        rest = sum(one * (first - at) for at, one in enumerate(body)) % 11
        body.append(0 if rest < 2 else 11 - rest)
    text = "".join(map(str, body))
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def _dni(draw: Draw) -> str:
    number = draw.randrange(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _nir(draw: Draw) -> str:
    month, place, order = draw.randrange(1, 13), draw.randrange(1, 96), draw.randrange(1, 999)
    body = f"{draw.choice('12')}{draw.randrange(30, 99)}{month:02d}{place:02d}{draw.randrange(1, 990):03d}{order:03d}"
    text = body + f"{97 - int(body) % 97:02d}"
    return draw.choice([text, f"{text[0]} {text[1:3]} {text[3:5]} {text[5:7]} {text[7:10]} {text[10:13]} {text[13:]}"])


def national_id(draw: Draw) -> str:
    """Of Brazil, Spain or France."""
    return draw.choice([_cpf, _dni, _nir])(draw)


def ip(draw: Draw) -> str:
    """A public address."""
    if draw.random() < 0.3:
        return f"2a0{draw.randrange(1, 9)}:{draw.randrange(1, 65535):x}::{draw.randrange(1, 65535):x}"
    first = draw.choice([8, 23, 45, 62, 80, 91, 104, 140, 185, 194, 212])
    return f"{first}.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"


def _bech32(draw: Draw) -> str:
    values = [0] + [draw.randrange(32) for _ in range(32)]
    expanded = [ord(one) >> 5 for one in "bc"] + [0] + [ord(one) & 31 for one in "bc"]
    check = 1
    for value in [*expanded, *values, 0, 0, 0, 0, 0, 0]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, one in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= one if top >> bit & 1 else 0
    check ^= 1
    return "bc1" + "".join(B32[one] for one in [*values, *((check >> 5 * (5 - at)) & 31 for at in range(6))])


def crypto(draw: Draw) -> str:
    """A wallet of Bitcoin or Ethereum."""
    kind = draw.randrange(3)
    if kind == 0:
        return _bech32(draw)
    if kind == 1:
        return "0x" + of(draw, "0123456789abcdefABCDEF", 40)
    raw = b"\x05" + draw.randbytes(20)
    number = int.from_bytes(raw + hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4], "big")
    text = ""
    while number:
        number, rest = divmod(number, 58)
        text = B58[rest] + text
    return text


def api_key(draw: Draw) -> str:
    """A key of one of many issuers."""
    makers: list[Callable[[], str]] = [
        lambda: "sk-proj-" + of(draw, ALNUM + "_-", 60).strip("-_") + "9z",
        lambda: "sk-ant-api03-" + of(draw, ALNUM, 90) + "AA",
        lambda: draw.choice(["AKIA", "ASIA"]) + of(draw, string.ascii_uppercase + "234567", 16),
        lambda: "ghp_" + of(draw, ALNUM, 36),
        lambda: "github_pat_" + of(draw, ALNUM, 22) + "_" + of(draw, ALNUM, 59),
        lambda: "glpat-" + of(draw, ALNUM, 20),
        lambda: f"xoxb-{digits(draw, 12)}-{digits(draw, 12)}-{of(draw, ALNUM, 24)}",
        lambda: "AIza" + of(draw, ALNUM + "_-", 34) + "a",
        lambda: "sk_live_" + of(draw, ALNUM, 24),
        lambda: "hf_" + of(draw, ALNUM, 34),
        lambda: "gsk_" + of(draw, ALNUM, 52),
        lambda: f"SG.{of(draw, ALNUM, 22)}.{of(draw, ALNUM, 43)}",
        lambda: "npm_" + of(draw, ALNUM, 36),
        lambda: f"dac_live_{of(draw, ALNUM, 12)}_{of(draw, ALNUM, 43)}",
    ]
    return draw.choice(makers)()


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(draw: Draw) -> str:
    """A signed token."""
    head = {"alg": draw.choice(["HS256", "RS256", "EdDSA"]), "typ": "JWT"}
    return f"{_part(head)}.{_part({'sub': digits(draw, 8), 'exp': draw.randrange(2**31)})}.{of(draw, ALNUM + '-_', 43)}"


def private_key(draw: Draw) -> str:
    """A key in its armour."""
    label = draw.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"])
    lines = "\n".join(of(draw, ALNUM + "+/", 64) for _ in range(draw.randrange(3, 25)))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


def password(draw: Draw) -> str:
    """A password as people make them."""
    word = draw.choice(["Sommer", "hunter", "Dragon", "monkey", "Pass", "qwert", "Berlin", "tiger"])
    return word + digits(draw, 3) + draw.choice("!#$%&*+") + of(draw, string.ascii_letters, 4)


VALUES: Mapping[str, Callable[[Draw], str]] = {
    "email": email,
    "card": card,
    "iban": iban,
    "ssn": ssn,
    "national_id": national_id,
    "ip": ip,
    "crypto": crypto,
    "api_key": api_key,
    "jwt": jwt,
    "private_key": private_key,
}
"""Kinds that stand for themselves; telephone numbers and passwords are put into words of their own."""
