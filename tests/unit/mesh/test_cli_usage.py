"""`dac usage` against a small server: what it asks, and what it shows."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from typer.testing import CliRunner

from mesh.cli import application

ROWS = [
    {
        "start": "2026-10-31T23:00:00Z",
        "group": ["t1", "openai/gpt-4o"],
        "requests": "12",
        "cost_nano_usd": "1500000000",
    },
    {"start": "2026-11-01T23:00:00Z", "group": ["", "m\x1b[31m"], "requests": "1", "cost_nano_usd": "1"},
]
TOTAL = {"requests": "13", "cost_nano_usd": "1500000001"}
FILE = "start,team\r\n" + "2026,t1\r\n" * 20_000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, list[tuple[str, str]]]]]:
    found: list[tuple[str, list[tuple[str, str]]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            query = parse_qsl(urlsplit(self.path).query)
            found.append((urlsplit(self.path).path, query))
            if self.path.startswith("/v2/usage/export"):
                self.send_response(200)
                # As long as it says, or cut off.
                self.send_header("content-length", str(len(FILE) + 5 * (("model", "cut") in query)))
                self.end_headers()
                self.wfile.write(FILE.encode())
                return
            second = ("page_token", "2") in query
            answer: dict[str, Any] = {"rows": ROWS[second : second + 1], "total": TOTAL}
            body = json.dumps(answer if second else {**answer, "next_page_token": "2"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DAC_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("DAC_API_KEY", "dac_test_key")
        yield found
        server.shutdown()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application(), ["usage", *arguments])


def test_all_pages_are_shown(asked: list[Any]) -> None:
    done = run("--by", "team,model", "--step", "day", "--from", "2026-11-01", "--to", "2026-12-01T00:00Z",
               "--zone", "Europe/Berlin", "--level", "project:p1", "--tag", "app=shop")  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["FROM", "TEAM", "MODEL", "REQUESTS", "INPUT", "CACHED", "CACHE", "WRITE", "OUTPUT",
                                "REASONING", "COST"]  # fmt: skip
    assert lines[1].startswith("2026-11-01  t1") and lines[1].endswith("$1.50")
    assert lines[2].startswith("2026-11-02  -") and "\x1b" not in lines[2]
    assert "in all: 13 requests, $1.500000001" in done.output
    path, query = asked[0]
    assert path == "/v2/usage"
    assert query[:3] == [("group_by", "DIMENSION_TEAM"), ("group_by", "DIMENSION_MODEL"), ("step", "WINDOW_DAY")]
    assert {("start_at", "2026-10-31T23:00:00.000000Z"), ("end_at", "2026-12-01T00:00:00.000000Z")} <= set(query)
    assert {("level.kind", "KIND_PROJECT"), ("level.id", "p1"), ("tag", "app=shop")} <= set(query)


def test_one_json_value(asked: list[Any]) -> None:
    assert json.loads(run("--by", "model", "--json").stdout) == {"rows": ROWS, "total": TOTAL}


def test_a_file_is_passed_on_as_it_comes(asked: list[Any]) -> None:
    done = run("--by", "team", "--csv")
    assert done.exit_code == 0 and done.stdout_bytes == FILE.encode()
    assert asked[0] == ("/v2/usage/export", [("group_by", "DIMENSION_TEAM"), ("format", "csv")])


def test_a_file_that_breaks_off_is_not_taken_for_whole(asked: list[Any]) -> None:
    done = run("--csv", "--model", "cut")
    assert done.exit_code == 3 and "cut off" in done.output


@pytest.mark.parametrize(
    "arguments",
    [("--by", "weather"), ("--step", "minute"), ("--from", "yesterday"), ("--zone", "Mars/X", "--from", "2026-11-01"),
     ("--level", "planet:x"), ("--csv", "--json")],
)  # fmt: skip
def test_wrong_usage_ends_with_2(asked: list[Any], arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2 and not asked
