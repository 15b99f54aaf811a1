"""The CLI's HTTP client against a small server of the standard library, and what commands do with failures."""

import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh.cli import application
from mesh.cli.client import NO_KEY, REFUSED, UNREACHABLE, USAGE, Client, Failure, base_url, find_key

ERROR = {"error": {"message": "The budget is used up.", "type": "x", "param": None, "code": "insufficient_quota"}}
CHUNKS = (
    {"model": "m/1", "choices": [{"index": 0, "delta": {"content": "Hel"}}]},
    {"model": "m/1", "choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"total_tokens": 3}, "dac": {"request_id": "r1", "model": "m/1", "cost_usd": "0.000002"}},
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; remembers what it was asked."""

    asked: list[tuple[str, str, str, Any]]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-dac-model", "m/1")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.asked.append((self.command, self.path, self.headers.get("authorization", ""), body))
        if self.path.startswith("/v1/chat"):
            events = [": ping\n\n", *(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS), "data: [DONE]\n\n"]
            if body["model"] == "broken":
                events = [events[1], f"data: {json.dumps(ERROR)}\n\n"]
            self._answer(200, "".join(events).encode(), "text/event-stream")
        elif self.path.startswith("/v1/keys?"):
            second = "page_token=2" in self.path
            answer = {"keys": [{"key_id": "k2" if second else "k1"}], "next_page_token": "" if second else "2"}
            self._answer(200, json.dumps(answer).encode())
        elif self.path == "/v1/budgets:verify":
            self._answer(200, b'{"differences": ["key k: 1 too much"], "ledger_rows": "3"}')
        elif not self.headers.get("authorization"):
            self._answer(401, json.dumps(ERROR).encode())
        else:
            self._answer(429, json.dumps(ERROR).encode())

    do_POST = do_PUT = do_DELETE = do_GET


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    handler = type("Bound", (Handler,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}"
        monkeypatch.setenv("DAC_BASE_URL", url)
        monkeypatch.setenv("DAC_API_KEY", "dac_test_key")
        monkeypatch.setenv("DAC_DATA_DIR", str(tmp_path))
        yield url, asked
        httpd.shutdown()


def test_addresses() -> None:
    assert base_url(None, {}) == "http://127.0.0.1:8000"
    assert base_url(None, {"DAC_HTTP_PORT": "81"}) == "http://127.0.0.1:81"
    assert base_url("https://dac.example.com/v1/", {"DAC_BASE_URL": "http://other"}) == "https://dac.example.com"
    with pytest.raises(Failure) as caught:
        base_url("dac.example.com", {})
    assert caught.value.exit_code == USAGE


def test_the_operators_token_stays_on_this_machine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator.token").write_text("secret\n")
    env = {"DAC_DATA_DIR": str(tmp_path)}
    assert find_key("http://127.0.0.1:8000", env) == find_key("http://localhost:1", env) == "secret"
    assert find_key("http://[::1]:1", env) == "secret"
    assert find_key("https://dac.example.com", env) == find_key("http://127.0.0.1.example.com", env) == ""
    assert find_key("https://dac.example.com", {**env, "DAC_API_KEY": "k"}) == "k"


def test_an_error_is_its_message_and_its_code(server: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(application(), ["key", "revoke", "k1", "--yes"])
    assert (done.exit_code, done.stdout) == (REFUSED, "")
    assert done.stderr == "error: The budget is used up.\n"
    monkeypatch.delenv("DAC_API_KEY")
    done = CliRunner().invoke(application(), ["key", "revoke", "k1", "--yes"])
    assert done.exit_code == NO_KEY
    assert "DAC_API_KEY" in done.stderr


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(application(), ["model", "list", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == UNREACHABLE
    assert "DAC does not answer at http://127.0.0.1:9: start it with `make run` or `dac up`" in done.stderr


def test_pages_are_joined(server: tuple[str, list[Any]]) -> None:
    done = CliRunner().invoke(application(), ["key", "list", "--json"])
    assert json.loads(done.stdout) == {"keys": [{"key_id": "k1"}, {"key_id": "k2"}]}
    assert server[1][0][2] == "Bearer dac_test_key"


def test_chat_streams_and_sums_up(server: tuple[str, list[Any]]) -> None:
    done = CliRunner().invoke(application(), ["chat", "Hi", "--profile", "quality", "--thread", "t1"])
    assert (done.exit_code, done.stdout) == (0, "Hello\n")
    assert "m/1 · $0.000002" in done.stderr
    body = server[1][0][3]
    assert (body["model"], body["routing_profile"], body["thread_id"]) == ("auto", "quality", "t1")
    assert body["stream_options"] == {"include_usage": True, "include_dac": True}


def test_chat_json_is_one_value(server: tuple[str, list[Any]]) -> None:
    value = json.loads(CliRunner().invoke(application(), ["chat", "--json"], input="piped question").stdout)
    assert value["text"] == "Hello" and value["cost_usd"] == "0.000002" and value["request_id"] == "r1"
    assert server[1][0][3]["messages"] == [{"role": "user", "content": "piped question"}]


def test_an_error_in_mid_stream_fails(server: tuple[str, list[Any]]) -> None:
    done = CliRunner().invoke(application(), ["chat", "Hi", "--model", "broken"])
    assert (done.exit_code, done.stdout) == (REFUSED, "Hel\n")
    assert "The budget is used up." in done.stderr


def test_nothing_to_ask_is_wrong_usage(server: tuple[str, list[Any]]) -> None:
    assert CliRunner().invoke(application(), ["chat"], input="").exit_code == USAGE
    assert server[1] == []


def test_differences_in_the_ledger_fail(server: tuple[str, list[Any]]) -> None:
    done = CliRunner().invoke(application(), ["budget", "verify"])
    assert done.exit_code == REFUSED and "key k: 1 too much" in done.stdout


@pytest.mark.parametrize("verb", [["key", "revoke", "k"], ["provider", "remove", "p"], ["budget", "delete", "b"]])
def test_nothing_is_destroyed_unasked(server: tuple[str, list[Any]], verb: list[str]) -> None:
    assert CliRunner().invoke(application(), verb).exit_code == REFUSED
    assert server[1] == []


def test_a_providers_key_comes_by_pipe_or_variable(
    server: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    CliRunner().invoke(application(), ["provider", "add", "openai"], input="sk-piped\n")
    monkeypatch.setenv("MY_KEY", "sk-variable")
    CliRunner().invoke(application(), ["provider", "add", "openai", "--key-env", "MY_KEY"])
    assert [one[3]["api_key"] for one in server[1]] == ["sk-piped", "sk-variable"]
    assert CliRunner().invoke(application(), ["provider", "add", "openai", "--key-env", "NOT_SET"]).exit_code == USAGE


def test_client_keeps_a_path(server: tuple[str, list[Any]]) -> None:
    with pytest.raises(Failure):
        Client(server[0] + "/dac/v1").call("GET", "/v1/caller")
    assert server[1][0][1] == "/dac/v1/caller"
