"""`dac cost reconcile`: exports in every form that is read, both sides compared, and the reason found."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mesh.cli import application
from mesh.cli.client import Failure
from mesh.cli.provider_exports import Export, Usage, base_name, read_exports
from mesh.cli.reconciliation import Comparison, compare

EXPORTS = pathlib.Path(__file__).parent / "exports"
FIRST, SECOND, THIRD = (dt.date(2026, 11, day) for day in (1, 2, 3))
USD = 1_000_000_000


def read(provider: str, *names: str) -> Export:
    return read_exports(provider, ((name, (EXPORTS / name).read_bytes()) for name in names))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("gpt-4-1106-preview", "gpt-4-1106-preview"),
        ("anthropic/claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("text-embedding-3-small", "text-embedding-3-small"),
        ("o3-2025-04-16", "o3"),
        ("openrouter/openai/gpt-4o-2024-08-06", "gpt-4o"),
    ],
)
def test_snapshots_are_their_models(model: str, name: str) -> None:
    assert base_name(model) == name


@pytest.mark.parametrize(
    "names", [("openai-costs.csv", "openai-activity.csv"), ("openai-costs.json", "openai-usage.json")]
)
def test_openai_says_the_same_in_both_forms(names: tuple[str, str]) -> None:
    export = read("openai", *names)
    assert export.usage == {
        (FIRST, "gpt-4o-mini"): Usage(10, 100_000, 50_000, 0, 20_000, Decimal("30750000")),
        (SECOND, "gpt-4o"): Usage(4, 400_000, 0, 0, 0, Decimal(USD)),
    }
    assert export.days == {FIRST, SECOND, THIRD}
    assert export.other == {"Web search tool calls": Decimal(USD) / 4} and not export.is_cut


def test_anthropic_says_cents_and_disjoint_tokens() -> None:
    export = read("anthropic", "anthropic-cost-report.json", "anthropic-usage-report.json")
    assert export.usage == {
        (FIRST, "claude-haiku-4-5"): Usage(None, 300_000, 20_000, 100_000, 5_000, Decimal("425000000"))
    }
    assert export.other == {"Web Search Usage": Decimal(USD) / 2} and export.is_cut


def test_costs_that_are_not_told_apart_are_not_compared() -> None:
    text = b"start_time,amount_value,amount_currency,line_item\n1793491200,0.5,usd,\n"
    export = read_exports("openai", [("costs.csv", text)])
    assert not export.usage and export.other == {"not told apart by line item": Decimal(USD) / 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "no text"),
        (b"a,b\n1,2\n", "neither the columns"),
        (b'{"data": 1}', "no page"),
        (b"{", "cannot be read"),
        (b'{"data": [{"start_time": 1, "results": [{"object": "x"}]}]}', "costs and usage are read"),
        (b"start_time,amount_value,amount_currency,line_item\n1793491200,0.5,eur,x\n", "only usd"),
        (b'start_time,amount_value,amount_currency,line_item\n1793491200,a lot,usd,"x, y"\n', "cannot be read"),
        (b"start_time,model,input_tokens\nlong ago,x,1\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes, said: str) -> None:
    with pytest.raises(Failure, match=said) as caught:
        read_exports("openai", [("some.csv", content)])
    assert "some.csv" in caught.value.message and caught.value.exit_code == 2


def test_the_same_day_twice_is_refused() -> None:
    with pytest.raises(Failure, match="both say costs of 2026-11-01"):
        read("openai", "openai-costs.csv", "openai-costs.json")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from(["openai", "anthropic"]))
def test_any_bytes_are_read_or_refused_by_name(content: bytes, provider: str) -> None:
    try:
        read_exports(provider, [("x", content)])
    except Failure as failure:
        assert failure.message.startswith("x ")


def used(cost: float | None = None, *, requests: int | None = 1, batch: bool = False, **tokens: int) -> Usage:
    cost_nano_usd = None if cost is None else Decimal(str(cost)) * USD
    given_tokens = {"input_tokens": 1000, "input_cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 100}
    return Usage(requests, **{**given_tokens, **tokens}, cost_nano_usd=cost_nano_usd, has_batch=batch)


def compared(ours: Usage | None, theirs: Usage | None) -> tuple[list[str], Comparison]:
    place = (FIRST, "m")
    found = compare({place: ours} if ours else {}, {place: theirs} if theirs else {})
    return found.lines[0].reasons, found


@pytest.mark.parametrize(
    ("ours", "theirs", "reasons"),
    [
        (used(1), used(1), []),
        (used(1), used(1.004), []),
        (used(1), None, ["only here: another account, or their export is late"]),
        (None, used(1), ["only there: it did not go through DAC, or by another key"]),
        (used(0, requests=0, input_tokens=0, output_tokens=0), None, []),
        (used(1), used(1.5), [
            "the price differs: $909.0909 per million here, $1363.6364 per million there, for the same tokens"]),
        (used(2), used(1, batch=True), ["batches, which cost less, are among theirs"]),
        (used(1), used(3, requests=3, input_tokens=3000, output_tokens=300), [
            "2 requests more there: not through DAC, or repeated attempts, which count once here",
            "input tokens: 1,000 here, 3,000 there", "output tokens: 100 here, 300 there"]),
        (used(1), used(0.6, input_tokens=200, input_cached_tokens=800), [
            "cached tokens: 0 here, 800 there, of the same input"]),
        (used(1), used(1.2, input_tokens=500, cache_write_tokens=500), [
            "tokens written to the cache: 0 here, 500 there, of the same input"]),
        (used(2, requests=3), used(2, requests=1), ["2 requests more here: their export is late, or another account"]),
        (used(1), Usage(cost_nano_usd=Decimal(2 * USD)), [
            "the price differs, or what was used: give their usage export, too"]),
        (used(1), used(None), []),
    ],
)  # fmt: skip
def test_the_likely_reason(ours: Usage | None, theirs: Usage | None, reasons: list[str]) -> None:
    assert compared(ours, theirs)[0] == reasons


def test_what_ran_over_midnight_is_told_and_does_not_count() -> None:
    ours = {(FIRST, "m"): used(8, requests=8), (SECOND, "m"): used(12, requests=12)}
    theirs = {(FIRST, "m"): used(9, requests=9), (SECOND, "m"): used(11, requests=11)}
    found = compare(ours, theirs)
    assert all("midnight" in line.reasons[0] for line in found.lines) and found.apart_percent == 0
    apart = compare({(FIRST, "m"): used(8), (FIRST, "n"): used(12)}, {(FIRST, "m"): used(9), (FIRST, "n"): used(11)})
    assert apart.apart_percent == 10, "what is too much of one model does not make up for another"


@given(
    st.dictionaries(
        st.tuples(st.sampled_from([FIRST, SECOND, THIRD]), st.sampled_from("abc")),
        st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
        min_size=1,
    )
)
def test_both_sides_add_up(amounts: dict[tuple[dt.date, str], tuple[int, int]]) -> None:
    ours = {place: Usage(1, 1, 0, 0, 0, Decimal(ours)) for place, (ours, _) in amounts.items()}
    theirs = {place: Usage(1, 1, 0, 0, 0, Decimal(theirs)) for place, (_, theirs) in amounts.items()}
    found = compare(ours, theirs)
    difference = sum(line.difference_nano_usd for line in found.lines)
    assert difference == found.ours_nano_usd - found.theirs_nano_usd
    assert compare(ours, ours).apart_percent == 0 and all(not line.reasons for line in compare(ours, ours).lines)
    assert found.apart_percent * found.theirs_nano_usd >= abs(difference) * 100 - 1 or not found.theirs_nano_usd


OURS = [
    {"start": "2026-11-01T00:00:00Z", "group": ["openai/gpt-4o-mini"], "requests": "10", "input_tokens": "100000",
     "input_cached_tokens": "50000", "output_tokens": "15000", "reasoning_tokens": "5000", "cost_nano_usd": "30750000"},
    {"start": "2026-11-02T00:00:00Z", "group": ["mine/large"], "requests": "4", "input_tokens": "400000",
     "cost_nano_usd": "1000000000"},
]  # fmt: skip


@pytest.fixture
def dac(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A DAC that knows the rows of OURS, two pages of them."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            asked.append(self.path)
            second = "page_token=2" in self.path
            answer: dict[str, Any] = {"rows": OURS[second : second + 1], "next_page_token": "" if second else "2"}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DAC_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("DAC_API_KEY", "dac_test_key")
        yield asked
        server.shutdown()


def run(*arguments: str) -> Any:
    files = [str(EXPORTS / one) if one.endswith((".csv", ".json")) else one for one in arguments]
    return CliRunner().invoke(application(), ["cost", "reconcile", *files])


def test_what_agrees_ends_well(dac: list[str]) -> None:
    done = run("--provider", "openai", "--same", "mine/large=gpt-4o", "openai-costs.csv", "openai-activity.csv")
    assert done.exit_code == 0, done.output
    assert done.output.count("agrees") == 2
    assert "In all: $1.03075 here, $1.03075 at openai: $0.00; 0.00 % apart" in done.output
    assert "not compared: $0.25 for Web search tool calls" in done.output
    first = parse_qs(urlsplit(dac[0]).query)
    assert first["start_at"] == ["2026-11-01T00:00:00Z"] and first["end_at"] == ["2026-11-04T00:00:00Z"]
    assert (first["provider"], first["step"], first["group_by"]) == (["openai"], ["WINDOW_DAY"], ["DIMENSION_MODEL"])


def test_what_is_too_far_apart_ends_with_1(dac: list[str]) -> None:
    done = run("--provider", "openai", "openai-costs.csv", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [(line["model"], line["reasons"]) for line in found["lines"]] == [
        ("gpt-4o-mini", []),
        ("gpt-4o", ["only there: it did not go through DAC, or by another key"]),
        ("large", ["only here: another account, or their export is late"]),
    ]
    assert found["lines"][1]["ours"] is None and found["lines"][1]["difference_nano_usd"] == "-1000000000"
    assert run("--provider", "openai", "openai-costs.csv", "--tolerance", "500").exit_code == 0


def test_without_costs_tokens_are_compared(dac: list[str]) -> None:
    done = run("--provider", "openai", "--as", "azure", "openai-usage.json", "--same", "mine/large=gpt-4o")
    assert done.exit_code == 0 and "say no costs" in done.output and "170,000 tokens" in done.output
    assert parse_qs(urlsplit(dac[0]).query)["provider"] == ["azure"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--provider", "acme", "openai-costs.csv"),
        ("--provider", "openai", "missing.csv"),
        ("--provider", "openai", "openai-costs.csv", "--same", "x"),
        ("--provider", "anthropic", "openai-costs.csv"),
    ],
)
def test_wrong_usage_ends_with_2(dac: list[str], arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
