"""What the console's audit page makes of an address, of a change, and of nothing."""

from __future__ import annotations

import datetime as dt

import pytest

from dac.type.v1.record_pb2 import AdminRecord
from services.gateway.console.audit import asked, changes, chosen, differences


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("", '{"name":"a","scopes":["chat"]}', [("name", None, "a"), ("scopes", None, '["chat"]')]),
        ('{"name":"a","n":1}', '{"name":"b","n":1}', [("name", "a", "b")]),
        ('{"name":"a"}', "", [("name", "a", None)]),
        ('{"x":{"y":1,"z":{}}}', '{"x":{"y":2,"z":{}}}', [("x.y", "1", "2")]),
        ('{"a":null}', '{"a":""}', [("a", "null", "")]),
        ("not json", "[1]", [("", "not json", "[1]")]),
        ('{"a":1}', '{"a":1}', []),
        ("", "", []),
    ],
)
def test_only_what_changed_is_told(before: str, after: str, found: object) -> None:
    assert differences(before, after) == found


def test_days_are_whole_and_included() -> None:
    wanted = chosen({"after": "2026-11-01", "before": "2026-11-01", "actor": " operator ", "page": "p"})
    made = asked(wanted, 50)
    assert made.after.ToDatetime(dt.UTC) == dt.datetime(2026, 10, 31, 23, 59, 59, 999_999, dt.UTC)
    assert made.before.ToDatetime(dt.UTC) == dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    assert (made.actor, made.page_token, wanted.query(page="")) == (
        "operator",
        "p",
        "actor=operator&after=2026-11-01&before=2026-11-01",
    )


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "0001-01-01", "9999-12-31", "\x00", "²"])
def test_odd_days_break_nothing(day: str) -> None:
    asked(chosen({"after": day, "before": day, "actor": "\x00"}), 50)


def test_nothing_is_said_so_and_others_texts_are_escaped() -> None:
    assert "Nothing was changed yet" in changes([], chosen({}), "")
    assert "No change fits" in changes([], chosen({"actor": "x"}), "")
    bad = "<script>alert(1)</script>"
    one = AdminRecord(record_id=bad, actor=bad, action=bad, target=bad, after_json=f'{{"{bad}":"{bad}"}}')
    drawn = changes([one], chosen({"target": bad}), "next")
    assert "<script>" not in drawn and drawn.count("&lt;script&gt;") >= 5 and "page=next" in drawn
