"""The console's session and its HTML: sealed keys, forms bound to their session, text that stays text."""

from __future__ import annotations

import asyncio
import base64
import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from mesh.envoy.edge import INTERNAL_HEADERS
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring
from services.gateway.console import forms
from services.gateway.console import site as console
from services.gateway.console.forms import nano_usd
from services.gateway.console.html import Safe, el, prose, text
from services.gateway.console.session import LIFETIME_S, LONGEST, Sessions, same_origin

KEY = "dac_live_AbCdEf123456_Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A"
MASTER = bytes(range(32))


class Clock:
    """A clock that is set by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(Keyring(MASTER), clock=clock)


def test_a_sealed_key_is_opened_by_every_replica(sessions: Sessions, clock: Clock) -> None:
    opened = Sessions(Keyring(MASTER), clock=clock).open(sessions.seal(KEY))
    assert opened is not None and opened.key == KEY


def test_the_cookie_does_not_hold_the_key(sessions: Sessions) -> None:
    sealed = sessions.seal(KEY)
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    assert KEY not in sealed and KEY.encode() not in raw and KEY.split("_")[2].encode() not in raw
    assert sessions.seal(KEY) != sealed


def test_a_session_ends_after_its_lifetime(sessions: Sessions, clock: Clock) -> None:
    sealed = sessions.seal(KEY)
    clock.now += LIFETIME_S - 1
    assert sessions.open(sealed) is not None
    clock.now += 1
    assert sessions.open(sealed) is None


def test_another_master_key_opens_nothing(sessions: Sessions, clock: Clock) -> None:
    assert Sessions(Keyring(bytes(32)), clock=clock).open(sessions.seal(KEY)) is None


@given(place=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_a_changed_cookie_is_refused(place: int, mask: int) -> None:
    sessions = Sessions(Keyring(MASTER), clock=Clock())
    sealed = sessions.seal(KEY)
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    raw[place % len(raw)] ^= mask
    assert sessions.open(base64.urlsafe_b64encode(raw).decode().rstrip("=")) is None


@given(st.text(max_size=300))
def test_no_text_is_a_session(cookie: str) -> None:
    assert Sessions(Keyring(MASTER), clock=Clock()).open(cookie) is None


def test_a_huge_cookie_is_not_even_looked_at(sessions: Sessions) -> None:
    assert sessions.open("A" * (LONGEST + 1)) is None


def test_a_forms_token_belongs_to_one_session(sessions: Sessions) -> None:
    one, other = sessions.open(sessions.seal(KEY)), sessions.open(sessions.seal(KEY))
    assert sessions.csrf_holds(one, sessions.csrf(one)) and sessions.csrf_holds(None, sessions.csrf(None))
    assert not sessions.csrf_holds(other, sessions.csrf(one))
    assert not sessions.csrf_holds(one, sessions.csrf(None))
    assert not sessions.csrf_holds(one, "") and not sessions.csrf_holds(one, "ÿ\ud800")


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, True),
        ({"origin": "https://dac.example", "host": "dac.example", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://DAC.example", "host": "dac.example"}, True),
        ({"origin": "https://evil.example", "host": "dac.example"}, False),
        ({"origin": "http://127.0.0.1:8001", "host": "127.0.0.1:8000"}, False),
        ({"origin": "https://dac.example", "host": "dac.example", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://dac.example", "host": "dac.example", "sec-fetch-site": "same-site"}, False),
        ({"origin": "null", "host": "dac.example"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"origin": "ftp://dac.example", "host": "dac.example"}, False),
        ({"origin": "https://", "host": ""}, False),
        ({"host": "dac.example"}, False),
        ({}, False),
    ],
)
def test_only_this_hosts_own_pages_send_forms(headers: dict[str, str], own: bool) -> None:
    assert same_origin(lambda name: headers.get(name, "")) is own


@given(st.text())
def test_text_stays_text(given_text: str) -> None:
    for made in (text(given_text), el("p", given_text), el("p", [given_text], title=given_text), prose(given_text)):
        inner = re.sub(r"</?(?:p|code)(?: title=\"[^\"<>]*\")?>", "", made)
        assert "<" not in inner and ">" not in inner and '"' not in inner
    assert html.unescape(text(given_text)) == given_text.replace("\x00", "\ufffd")


def test_only_what_was_built_here_is_markup() -> None:
    assert el("p", "<b>", el("b", "&"), None, False, 0, ["x", ["y"]]) == "<p>&lt;b&gt;<b>&amp;</b>0xy</p>"
    assert el("input", name='"><script>', required=True, hidden=False, value=None) == (
        '<input name="&quot;&gt;&lt;script&gt;" required>'
    )
    assert isinstance(el("br"), Safe) and not isinstance(el("br") + "<script>", Safe)


@pytest.mark.parametrize(
    ("typed", "nano"), [("5", 5_000_000_000), ("$0.25", 250_000_000), (" 0 ", 0), ("0.000000001", 1)]
)
def test_dollars_are_read_exactly(typed: str, nano: int) -> None:
    assert nano_usd(typed) == nano


@pytest.mark.parametrize("typed", ["", "-1", "five", "nan", "inf", "1e300", "1e999999999", "0.0000000001", "1,5"])
def test_other_amounts_are_refused(typed: str) -> None:
    with pytest.raises(MeshError, match="amount of dollars"):
        nano_usd(typed)


async def test_a_form_that_does_not_arrive_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def gone() -> dict[str, object]:
        return {"type": "http.disconnect"}

    monkeypatch.setattr(forms, "FORM_S", 0.01)
    for receive, reason in ((silent, Reason.DEADLINE_EXCEEDED), (gone, Reason.CANCELLED)):
        with pytest.raises(MeshError) as refused:
            async with asyncio.timeout(5):
                await forms.read_form(Request({"type": "http", "method": "POST", "headers": []}, receive))
        assert refused.value.reason is reason


def test_the_edge_lets_the_playgrounds_token_pass() -> None:
    assert not console.CSRF_HEADER.startswith(INTERNAL_HEADERS)
    assert f'"{console.CSRF_HEADER}"' in (console.STATIC / "console.js").read_text()
