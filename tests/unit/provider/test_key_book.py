"""Which key is taken: by weight, none that rests, and never somebody else's."""

import asyncio
import collections
import datetime
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from mesh.testing import FakeClock
from services.provider.errors import ProviderFault, refused_status
from services.provider.keys.book import Key, KeyBook, blames_key
from services.provider.keys.store import KeyRow
from services.provider.keys.vault import SealedKey, Vault

VAULT = Vault(b"v" * 32, "m1")
AT = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
URL = "https://x"


def row(org_id: str, key_id: str, *, weight: int = 1, active: bool = True, url: str = URL) -> KeyRow:
    made = KeyRow(org_id, key_id, "p", url, SealedKey(b"", b"", ""), "", active, weight, key_id, AT, AT)
    return KeyRow(
        org_id, key_id, "p", url, VAULT.seal(made.place, f"secret {key_id}"), "", active, weight, key_id, AT, AT
    )


class Rows:
    """A store of what it is given."""

    def __init__(self, *rows: KeyRow) -> None:
        self.rows = rows

    async def versions(self) -> Mapping[str, int]:
        return {one.org_id: 1 for one in self.rows if one.org_id}

    async def read(self, org_id: str) -> Sequence[KeyRow]:
        return [one for one in self.rows if one.org_id == org_id]


def book_of(*rows: KeyRow, clock: FakeClock | None = None) -> KeyBook:
    book = KeyBook(Rows(*rows), VAULT, clock=clock or FakeClock(), draw=random.Random(4).random)  # type: ignore[arg-type]
    asyncio.run(book.refresh())
    return book


def chosen(book: KeyBook, org_id: str, own: str = "operator's", *, enabled: bool = True) -> Key | None:
    return book.choose("p", org_id, URL, own, enabled=enabled)


def taken(book: KeyBook) -> set[str]:
    """The keys that many attempts of an organisation were sent with."""
    return {key.key_id for _ in range(40) if (key := chosen(book, "a"))}


def refused(status: int, wait_s: float | None = None) -> ProviderFault:
    reason = Reason.PROVIDER_RATE_LIMITED if status == 429 else Reason.PROVIDER_FAILED
    return ProviderFault(reason, "no", status_code=status, retry_after_s=wait_s)


def test_weights() -> None:
    book = book_of(row("a", "1", weight=1), row("a", "2", weight=3), row("a", "3", weight=6))
    counts = collections.Counter(key.key_id for _ in range(5000) if (key := chosen(book, "a")))
    assert [round(counts[name] / 500) for name in "123"] == [1, 3, 6]


@given(
    rows=st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.booleans(), st.booleans()), max_size=6),
    org_id=st.sampled_from(["", "a", "b", "c"]),
)
def test_an_organisation_is_served_with_its_own_or_everybodys(rows: list[tuple[str, bool, bool]], org_id: str) -> None:
    made = [
        row(owner, str(at), active=on, url=URL if here else "https://y") for at, (owner, on, here) in enumerate(rows)
    ]
    has_own = bool(org_id) and any(one.org_id == org_id for one in made)
    try:
        key = chosen(book_of(*made), org_id)
    except ProviderFault as fault:
        assert fault.reason in (Reason.PROVIDER_BUSY, Reason.FAILED_PRECONDITION) and has_own
        return
    if has_own:
        assert key is not None and key.org_id == org_id and key.secret == f"secret {key.key_id}"
    else:
        assert key is None or key.org_id == ""


def test_resting_ends_by_itself() -> None:
    clock = FakeClock()
    book = book_of(row("a", "1"), row("a", "2"), clock=clock)
    for status, wait_s, rests_s in (
        (401, None, 300),
        (403, 5.0, 300),
        (402, None, 300),
        (429, 40.0, 40),
        (429, 9e9, 3600),
    ):
        first = chosen(book, "a")
        assert first is not None
        book.failed(first, refused(status, wait_s))
        others = taken(book)
        assert others == {"1", "2"} - {first.key_id}
        clock.advance(rests_s - 0.1)
        assert taken(book) == others
        clock.advance(0.1)
        assert taken(book) == {"1", "2"}


def test_the_wait_is_told_when_all_rest() -> None:
    book = book_of(row("a", "1"))
    key = chosen(book, "a")
    assert key is not None
    book.failed(key, refused(429, 40.0))
    with pytest.raises(ProviderFault) as caught:
        chosen(book, "a")
    assert caught.value.retry_after_s == 40.0 and caught.value.rate_limited
    assert caught.value.reason is Reason.PROVIDER_BUSY, "of the provider itself it says nothing"


def test_keys_that_were_refused_are_not_called_limited() -> None:
    book = book_of(row("a", "1"), row("a", "2"))
    for status in (429, 401):
        key = chosen(book, "a")
        assert key is not None
        book.failed(key, refused(status, 40.0))
    with pytest.raises(ProviderFault, match="was refused or is over its rate limit") as caught:
        chosen(book, "a")
    assert not caught.value.rate_limited


def test_a_key_without_credit_rests_as_a_refused_one() -> None:
    clock = FakeClock()
    book = book_of(row("a", "1"), row("a", "2"), clock=clock)
    key = chosen(book, "a")
    assert key is not None
    book.failed(key, refused_status("p", 429, {}, b'{"error": {"code": "insufficient_quota"}}'))
    clock.advance(299)
    assert key.key_id not in taken(book)


def test_everybodys_only_key_does_not_rest() -> None:
    book = book_of(row("", "1"))
    key = chosen(book, "a", own="")
    assert key is not None and key.alone
    book.failed(key, refused(401))
    assert chosen(book, "a", own="") == key


def test_nothing_is_chosen_where_nobody_has_keys() -> None:
    assert chosen(book_of(), "a") is None
    assert chosen(book_of(row("b", "1")), "a") is None
    assert chosen(book_of(row("b", "1")), "a", own="", enabled=False) is None


def test_what_blames_the_key() -> None:
    assert all(blames_key(refused(status)) for status in (400, 401, 402, 403, 429))
    assert not any(blames_key(refused(status)) for status in (0, 404, 408, 500, 503, 529))
    assert not blames_key(ProviderFault(Reason.PROVIDER_REFUSED, "wrong", status_code=400))


def test_a_secret_is_in_no_representation() -> None:
    key = chosen(book_of(row("a", "1")), "a")
    assert key is not None and "secret" not in repr(key)


def test_a_row_that_another_master_key_sealed_anew_is_not_needed_again() -> None:
    """A process with only the former master key goes on while the rotation runs."""
    store = Rows(row("a", "1"))
    book = KeyBook(store, VAULT)  # type: ignore[arg-type]
    asyncio.run(book.refresh())
    (before,) = store.rows
    place = before.place
    other = Vault(b"w" * 32, "m2").seal(place, "secret 1")
    store.rows = (KeyRow("a", "1", "p", URL, other, "", True, 1, "1", AT, AT),)
    book._versions.clear()
    asyncio.run(book.refresh())
    key = chosen(book, "a")
    assert key is not None and key.secret == "secret 1"
