"""Whom a body is for: one digest for each name, in every dialect, and nothing said of a field in another form."""

import msgspec
import pytest

from services.gateway.wire.end_users import end_user

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


def said(body: str) -> str:
    return end_user(_top.decode(body))


def test_a_name_is_the_same_in_every_dialect_and_is_not_told() -> None:
    eve = said('{"user": "eve"}')
    assert eve == said('{"safety_identifier": "eve"}') == said('{"metadata": {"user_id": "eve", "more": 1}}')
    assert len(eve) == 32 and "eve" not in eve
    assert eve == said('{"user": "\\u0065ve"}') != said('{"user": "eva"}')
    assert said('{"user": "", "safety_identifier": "eve"}') == eve


@pytest.mark.parametrize(
    "body",
    ["{}", '{"user": null}', '{"user": 7}', '{"user": ""}', '{"metadata": {"user_id": []}}', '{"metadata": "x"}'],
)
def test_who_names_nobody_has_none(body: str) -> None:
    assert said(body) == ""


def test_what_is_no_text_is_no_failure() -> None:
    assert end_user(_top.decode(b'{"user": "\xff"}')) == ""
