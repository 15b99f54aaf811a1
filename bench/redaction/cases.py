"""Sentences with private values at known places, and sentences that only look as if they held some."""

import dataclasses
import random
import string
import uuid
from collections.abc import Callable, Iterator

from bench.redaction.values import ALNUM, COUNTRIES, VALUES, Draw, check_digit, digits, of, password, phone

AROUND = (
    "{}",
    "Please use {} from now on.",
    "My details: {}, thanks!",
    "({})",
    "1. {}\n2. something else",
    '{{"value": "{}"}}',
    "Die Angabe lautet {}; bitte prüfen.",
    "Voici: {} — merci.",
    "数据：{}。",
    "before\n{}\nafter",
    "| {} | open | 2026-11-03 |",
)
NAMED_PHONE = (
    "call me at {}",
    "Phone: {}",
    "my mobile is {}.",
    "Telefon {}",
    "téléphone : {}",
    "tel. {}",
    "reach us under {} please",
    "WhatsApp {}",
)
NAMED_PASSWORD = (
    "password: {}",
    'PASSWORD="{}"',
    "the password is {}",
    "export DB_PASSWORD={}",
    "postgres://app:{}@db.example.org/main",
    "'client_secret': '{}'",
    "Passwort: {}",
)

VERSIONS = ("v{}.{}.{}", "version {}.{}.{}.{}", "pkg=={}.{}.{}", "Chrome/{}.{}.{}.{}")
DATES = ("{}-{:02d}-{:02d}", "{0}/{1}/{2}", "{2:02d}.{1:02d}.{0}", "{1}/{2}/{0}")
CODE = (
    "@app.route('/x')",
    "git clone git@github.com:org/repo.git",
    "icon@2x.png",
    "npm i react@18.2.0",
    "password: str = Field(min_length=8)",
    "token = get_token(user)",
    "api_key=os.environ['API_KEY']",
    "for i in range(1000000, 2000000):",
    "x = 0xDEADBEEF",
    "color: #1a2b3c;",
    "y = a[10:20:2]",
    "if password == confirm_password:",
    "secret_key: ${SECRET_KEY}",
    "docker run -p 8080:80 nginx:1.25.3",
    "SELECT * FROM t WHERE id = 123456789",
    "std::vector<int> v(100);",
    "A @ B.T",
    "0b10101010 + 1e10",
    "PASSWORD=your_password_here",
    "class sk-estimator-doc-link-container",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A text with one private value, or with none."""

    text: str
    kind: str
    """Empty: nothing in it is private."""
    value: str
    group: str
    """What the figures are told by."""


def positives(seed: int = 7, each: int = 200) -> Iterator[Case]:
    """Cases with one value each."""
    draw = random.Random(seed)
    for kind, value_of in VALUES.items():
        for _ in range(each):
            value = value_of(draw)
            # Within JSON a line break is written otherwise.
            around = draw.choice([one for one in AROUND if "\n" not in value or "{{" not in one])
            yield Case(around.format(value), kind, value, kind)
    for _ in range(each):
        value = password(draw)
        yield Case(draw.choice(NAMED_PASSWORD).format(value), "password", value, "password")
    for country in COUNTRIES:
        for _ in range(each // 10):
            form = draw.choice(["e164", "international"])
            value = phone(draw, country, form)
            yield Case(draw.choice(AROUND).format(value), "phone", value, "phone, with its country code")
        for _ in range(each // 10):
            value = phone(draw, country, "national")
            yield Case(draw.choice(NAMED_PHONE).format(value), "phone", value, "phone, behind a word for it")
        for _ in range(each // 10):
            value = phone(draw, country, "national")
            yield Case(draw.choice(AROUND[:3]).format(value), "phone", value, "phone, bare and national")


def _wrong_card(draw: Draw) -> str:
    body = "4" + digits(draw, 14)
    right = int(check_digit(body))
    return body + str((right + draw.randrange(1, 10)) % 10)


def _clock(draw: Draw) -> tuple[int, int, int]:
    return draw.randrange(24), draw.randrange(60), draw.randrange(60)


def _day(draw: Draw) -> tuple[int, int, int]:
    return draw.randrange(1990, 2030), draw.randrange(1, 13), draw.randrange(1, 29)


def negatives(seed: int = 8, each: int = 125) -> Iterator[Case]:
    """Cases with nothing private in them."""
    draw = random.Random(seed)
    n = draw.randrange
    makers: dict[str, Callable[[], str]] = {
        "version": lambda: draw.choice(VERSIONS).format(*(n(200) for _ in range(4))),
        "order": lambda: draw.choice(
            [f"order {digits(draw, 8)}", f"INV-{n(2020, 2027)}-{digits(draw, 6)}", f"#{digits(draw, 10)}",
             f"ticket {digits(draw, 4)}-{digits(draw, 4)}-{digits(draw, 2)}", f"SKU {digits(draw, 12)}"]
        ),
        "hash": lambda: of(draw, "0123456789abcdef", draw.choice([7, 32, 40, 64])),
        "uuid": lambda: str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        "date": lambda: draw.choice(DATES).format(*_day(draw)),
        "time": lambda: "{:02d}:{:02d}:{:02d}".format(*_clock(draw)) + draw.choice(["", ".123", " UTC", "+02:00"]),
        "stamp": lambda: str(n(1_500_000_000, 1_900_000_000)) + draw.choice(["", "000", digits(draw, 3)]),
        "decimal": lambda: f"{n(10000)}.{digits(draw, n(1, 16))}",
        "money": lambda: draw.choice(["${}.{}", "€{},{}", "{},{}.00 USD"]).format(n(1000), f"{n(100, 999)}"),
        "card with a wrong check digit": lambda: _wrong_card(draw),
        "account with a wrong check": lambda: "DE00" + digits(draw, 18),
        "private address": lambda: draw.choice(
            [f"10.{n(256)}.{n(256)}.{n(256)}", f"192.168.{n(256)}.{n(256)}", "127.0.0.1",
             "0.0.0.0", "255.255.255.0", "::1", "fe80::1", "172.16.4.20"]
        ),
        "code": lambda: f"{draw.choice(CODE)}  # {n(1000)}",
        "isbn": lambda: f"ISBN 978-{n(10)}-{digits(draw, 4)}-{digits(draw, 4)}-{n(10)}",
        "mac": lambda: ":".join(of(draw, "0123456789abcdef", 2) for _ in range(6)),
        "place": lambda: f"{n(90)}.{digits(draw, 6)}, -{n(180)}.{digits(draw, 6)}",
        "range": lambda: f"p. {n(100)}-{n(100, 900)}, l. {n(1000, 2000)}-{n(2000, 9000)}",
        "base64": lambda: of(draw, ALNUM + "+/", n(40, 200)),
        "sums": lambda: f"{n(10**6)} + {n(10**6)} = {n(10**7)}; {n(1000)} - {n(100)} / {n(10, 99)}",
        "tracking": lambda: "1Z" + of(draw, string.ascii_uppercase + string.digits, 16),
        "digest": lambda: f"nginx@sha256:{of(draw, '0123456789abcdef', 64)}",
    }  # fmt: skip
    for group, make in makers.items():
        for _ in range(each):
            yield Case(draw.choice(AROUND).format(make()), "", "", group)
