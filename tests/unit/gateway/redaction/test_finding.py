"""What is found as private, and what is not."""

import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import MeshError
from mesh.secret_shapes import Tries
from services.gateway.redaction.finder import candidates, find
from services.gateway.redaction.kinds import KINDS, REGIONS, checked_kinds, checked_regions
from services.router.policies.answer_rules import PRIVATE_KINDS, USUAL_REGIONS

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-def_123"


def said(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to bob+x@ex.co.uk.", "email", "bob+x@ex.co.uk"),
        ("Grüße an max.müller@exämple.de!", "email", "max.müller@exämple.de"),
        ("我的邮箱是foo@bar.com", "email", "foo@bar.com"),
        (r"line one\nfoo@bar.com", "email", "foo@bar.com"),
        ("call +44 20 7946 0958 now", "phone", "+44 20 7946 0958"),
        ("(415) 555-2671", "phone", "(415) 555-2671"),
        ("Telefon 030 901820", "phone", "030 901820"),
        ("电话 +86 138 0013 8000", "phone", "+86 138 0013 8000"),
        ("order 12 4111 1111 1111 1111 paid", "card", "4111 1111 1111 1111"),
        ("3782-822463-10005", "card", "3782-822463-10005"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC X", "iban", "DE89 3704 0044 0532 0130 00"),
        ("gb29nwbk60161331926819", "iban", "gb29nwbk60161331926819"),
        ("my 123-45-6789", "ssn", "123-45-6789"),
        ("SSN: 123456789", "ssn", "123456789"),
        ("CPF 529.982.247-25", "national_id", "529.982.247-25"),
        ("DNI 12345678Z", "national_id", "12345678Z"),
        ("from 8.8.8.8 came", "ip", "8.8.8.8"),
        ("host 2606:4700:4700::1111", "ip", "2606:4700:4700::1111"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "crypto", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "crypto", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        ("key AKIAIOSFODNN7ABCDEF2", "api_key", "AKIAIOSFODNN7ABCDEF2"),
        ("Authorization: Bearer abcDEF123456ghiJKL789", "api_key", "abcDEF123456ghiJKL789"),
        ("dac_live_0123456789ab_" + "aB3" * 12, "api_key", "dac_live_0123456789ab_" + "aB3" * 12),
        ("token " + JWT, "jwt", JWT),
        ("see\n" + KEY + "\nthanks", "private_key", KEY),
        ("postgres://bob:s3cretPw@db.host/x", "password", "s3cretPw"),
        ('password = "hunter2Xy!"', "password", "hunter2Xy!"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz", "password", "wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz"),
    ],
)
def test_private_values_are_found_where_they_stand(text: str, kind: str, value: str) -> None:
    assert said(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4, v10.0.0.1 and 192.168.0.1, 127.0.0.1, Chrome/120.0.6099.109",
        "on 2026-11-03 at 12:34:56, call it done by 03.11.2026",
        "order 4471-2290-11, invoice 2026-000123, ISBN 978-3-16-148410-0",
        "commit 9f8e7d6c5b4a39281706f5e4d3c2b1a098765432",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "4111 1111 1111 1112 is no card",
        "DE89 3704 0044 0532 0130 01 is no account",
        "git@github.com:org/repo.git and icon@2x.png and react@18.2.0 and @app.route",
        "password: str = field() and token = get_token() and api_key=os.environ['KEY']",
        "password: ${DB_PASSWORD} and PASSWORD=your_password_here",
        "pi is 3.14159265358979 and e is 2.718281828459045",
        "sk-learn-something-very-long-and-plain",
        "[EMAIL_1] and [PHONE_22]",
    ],
)
def test_what_only_looks_private_is_left_alone(text: str) -> None:
    assert said(text) == []


def test_overlaps_become_one_value_of_the_higher_rank() -> None:
    text = "https://ann:Secr3t.pw@mail.example.org/x"
    found = find(text)
    assert [one.kind for one in found] == ["password"]
    assert "Secr3t.pw" in text[found[0].start : found[0].end]


def test_only_the_kinds_that_are_asked_for_are_looked_for() -> None:
    assert [one.kind for one in find("a@b.org 8.8.8.8", ["ip"])] == ["ip"]


def test_router_and_gateway_know_the_same_kinds_and_countries() -> None:
    assert set(PRIVATE_KINDS) == set(KINDS) and USUAL_REGIONS == REGIONS


def test_unknown_kinds_and_countries_are_refused() -> None:
    with pytest.raises(MeshError, match="no kind of private values"):
        checked_kinds(["names"])
    with pytest.raises(MeshError, match="no country"):
        checked_regions(["Germany"])
    assert checked_regions(["de"]) == ("DE",)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(string.printable + "é漢\x00@+-.:()[]"), max_size=300))
def test_any_text_gives_matches_in_order_and_apart(text: str) -> None:
    found = find(text)
    assert found == find(text)
    places = [place for one in found for place in (one.start, one.end)]
    assert places == sorted(places)
    assert all(one.start < one.end <= len(text) for one in found)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["a@b.org", "+14155552671", "4111111111111111", "DE89370400440532013000", JWT, KEY]),
    st.text(" ,;\n漢字é", min_size=1, max_size=10),
    st.text(" ,;\n漢字é", min_size=1, max_size=10),
)
def test_a_value_is_found_whatever_stands_around_it(value: str, before: str, behind: str) -> None:
    text = f"{before} {value} {behind}"
    assert [text[one.start : one.end] for one in find(text)] == [value]


@pytest.mark.parametrize(
    "unit",
    ["1 ", "a@", "@a.b", "+1", "call 1 ", "eyJaaaaaaaa-AKIAIOSFODNN7ABCDEF2-", "sk-", "password=", "DE89 ", "4111 ",
     "1.2.3.4 ", ":", "://a:", "-----BEGIN PRIVATE KEY-----", "é", "8.8.8.8 "],
)  # fmt: skip
def test_hostile_texts_cost_time_in_line_with_their_length(unit: str) -> None:
    def cost_s(size: int) -> float:
        data = (unit * (size // len(unit) + 1)).encode()
        begun = time.process_time()
        for _ in candidates(data, KINDS, REGIONS, Tries()):
            pass
        return time.process_time() - begun

    # Four times the text: a search whose cost grew with the square would take sixteen times as long.
    short, long = min(cost_s(10_000) for _ in range(3)), min(cost_s(40_000) for _ in range(2))
    assert long < 8 * short + 0.01
    assert short < 0.05
