"""`dac audit verify` reads stretches where DAC and this machine can do that, and the whole log where not."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.audit.tamper import SIGNER
from mesh.cli import audit_verify
from mesh.cli.client import Failure
from mesh.tlog import side_by_side
from tests.unit.tlog.stretch_sources import SIZE, log

LOG = log()
UNKNOWN = {"error": {"message": 'There is no field "first".', "param": "first", "code": "invalid_request"}}


class Dac(http.server.BaseHTTPRequestHandler):
    """What the edge answers of a log, in this and in earlier versions."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    version = "this"

    def do_GET(self) -> None:
        """The checkpoint's size, or entries."""
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.asked.append(urlsplit(self.path).query)
        first, end = int(query.get("first", ["0"])[0]), int(query.get("end", ["0"])[0])
        if path == "/v1/audit/checkpoint":
            self.answer(200, json.dumps({"size": str(SIZE)}).encode())
        elif self.version == "earlier edge" and query:
            self.answer(400, json.dumps(UNKNOWN).encode())
        elif self.version == "earlier audit" or not query:
            self.answer(200, LOG.stream())
        elif self.version == "breaks" and first:
            self.answer(200, b"".join(LOG.part(first, end))[:-9])
        else:
            self.answer(200, b"".join(LOG.part(first, end)))

    def answer(self, status: int, body: bytes) -> None:
        """One answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address."""
    monkeypatch.setattr(audit_verify, "ALONE", 1000)
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", 512)
    monkeypatch.setattr(side_by_side, "processors", lambda: 2)
    monkeypatch.setattr(Dac, "asked", [], raising=False)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dac)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.mark.parametrize("version", ["this", "earlier edge", "earlier audit"])
def test_every_version_of_dac_is_read(version: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dac, "version", version)
    checked, holds = audit_verify.check_log(server, SIGNER.verifier, None)
    assert holds and checked.entries == SIZE
    stretches = {one for one in Dac.asked if "end" in one}
    if version == "this":
        assert stretches == {"first=0&end=512", "first=512&end=1024", "first=1024&end=1280"}
        assert Dac.asked[-1] == "first=1280"
    else:
        assert stretches and Dac.asked[-1] == ""


def test_one_processor_reads_the_whole_log(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "processors", lambda: 1)
    checked, holds = audit_verify.check_log(server, SIGNER.verifier, None)
    assert holds and checked.entries == SIZE and Dac.asked == ["", ""]


def test_a_stretch_that_breaks_off_is_a_failure(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dac, "version", "breaks")
    with pytest.raises(Failure, match="the log's stream broke off"):
        audit_verify.check_log(server, SIGNER.verifier, None)
