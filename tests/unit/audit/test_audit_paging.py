"""Page tokens: they say where to go on, and hold only for what they were made for."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from services.audit.paging import MAX_PAGE, Place, page_size, read_token, write_token

MOMENTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))


@given(MOMENTS, st.uuids(), st.text(), st.text())
def test_a_token_leads_back_to_its_place_with_the_same_filters_only(
    at: dt.datetime, row_id: object, filters: str, others: str
) -> None:
    place = Place(at, str(row_id))
    token = write_token(place, (filters,))
    assert read_token(token, (filters,)) == place
    if others != filters:
        assert read_token(token, (others,)) is None


@given(st.text())
def test_anything_else_is_no_token(text: str) -> None:
    assert read_token(text, ("filters",)) is None


def test_page_sizes_are_bounded() -> None:
    assert (page_size(0), page_size(3), page_size(10**9)) == (50, 3, MAX_PAGE)
