"""How commands print."""

import datetime
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli import output

NOW = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        ("0", "$0.00"),
        (None, "$0.00"),
        ("1", "$0.000000001"),
        ("1500000000", "$1.50"),
        (-2_000_000_000, "-$2.00"),
        ("1234000000000", "$1,234.00"),
    ],
)
def test_money(nano: object, shown: str) -> None:
    assert output.money(nano) == shown


@given(st.integers(-(2**63), 2**63 - 1))
def test_money_loses_nothing(nano: int) -> None:
    text = output.money(str(nano)).replace("$", "").replace(",", "")
    whole, digits = text.lstrip("-").split(".")
    assert int(whole + digits.ljust(9, "0")) == abs(nano)
    assert text.startswith("-") == (nano < 0)


def test_one_thing_is_not_told_as_several() -> None:
    assert [output.counted(n, "entry") for n in (0, 1, 1200)] == ["0 entries", "1 entry", "1,200 entries"]
    assert [output.counted(n, "alias") for n in (1, 2)] == ["1 alias", "2 aliases"]


def test_times_are_local_and_relative() -> None:
    assert output.local_time("2026-11-21T11:57:00.123456789Z", now=NOW).endswith("(3 min ago)")
    assert output.local_time("2026-11-23T12:00:00Z", now=NOW).endswith("(in 2 d)")
    assert output.local_time(None) == "-"


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in output.clean("a\x1b[2Jb\x07")
    assert output.clean("zwei\nZeilen\t✓") == "zwei\nZeilen\t✓"


def test_plain_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "cost"), [("a", "$1.00"), ("longer", "$10.00")], right=(1,))
    assert capsys.readouterr().out.splitlines() == ["NAME      COST", "a        $1.00", "longer  $10.00"]


KEY = "01a20467-71a2-7273-9bea-92fba0d71dc7"
SCOPES = "chat,read,admin"


def drawn(columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A wide table as a terminal of so many columns shows it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(output, "is_fancy", lambda: True)
    row = (KEY, "laptop", "dac_live_hTsZfSqJu38J", SCOPES, "1,417", "-", "2026-11-22 17:56:57 (77 s ago)")
    output.table(("key id", "name", "prefix", "scopes", "cost", "place", "made"), [row], right=(4,))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
def test_a_terminal_of_any_width_shows_ids_whole(columns: int, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    lines = drawn(columns, capsys, monkeypatch)
    shown = " ".join(" ".join(lines).split())
    for whole in (KEY, "laptop", "dac_live_hTsZfSqJu38J", "1,417", "2026-11-22", "17:56:57"):
        assert whole in shown, whole
    assert max(map(len, lines)) <= columns and "ago)" in shown
    assert (lines[0] == KEY) == (columns < 120), "paragraphs where the columns do not fit"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.dim("x", Terminal()) != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.dim("x", Terminal()) == "x"


def test_help_loads_no_service() -> None:
    code = (
        "import sys, mesh.cli\n"
        "slow = [m for m in ('grpc', 'google.protobuf', 'asyncpg', 'rich.table', 'mesh.app') if m in sys.modules]\n"
        "sys.exit(str(slow) if slow else 0)"
    )
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert time.monotonic() - started < 10


def test_a_process_that_calls_no_provider_does_not_load_what_would() -> None:
    code = (
        "import importlib, sys\n"
        "from mesh.app import TARGETS\n"
        "for target in TARGETS.values(): target.config_class()\n"
        "for name in ('budget', 'audit', 'memory', 'gateway'): importlib.import_module(f'services.{name}.server')\n"
        "sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
