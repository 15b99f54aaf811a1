"""`dac audit verify` of a log whose old leaves are gone: as one stream, and in stretches by several processes."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from dac.audit.v1 import log_pb2
from mesh.cli import audit_verify
from mesh.postgres import Database
from mesh.tlog import side_by_side
from mesh.tlog.notes import Checkpoint
from mesh.tlog.packing import WINDOW
from mesh.tlog.tiles import WIDTH
from tests.conftest import Migrated
from tests.integration.audit.dropped_world import Dropped
from tests.integration.audit.log_world import KEY
from tests.integration.audit.test_log import FOLDER
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
STRETCH = 2 * WIDTH


@pytest.fixture
async def dropped(make_database: Make) -> AsyncIterator[Dropped]:
    """A log that begins with its second window."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    log = Dropped(database, made)
    await log.fill(rest=5 * WIDTH)
    await log.redact()
    assert await log.drop() == WINDOW
    yield log
    await database.close()


async def answers(log: Dropped, kept: Checkpoint) -> dict[str, bytes]:
    """What DAC answers, by path and query."""
    head = await log.store.head()
    found = {
        "/v1/audit/checkpoint": json.dumps({"size": str(head.size), "start": str(WINDOW)}).encode(),
        f"/v1/audit/consistency?size={kept.size}&to_size={head.size}": json.dumps(
            {"hashes": [base64.b64encode(one).decode() for one in await log.proof(kept.size, head.size)]}
        ).encode(),
    }
    last = head.size // WIDTH * WIDTH
    bounds = [(0, 0), (last, 0), (0, WINDOW)]
    bounds += [(first, min(first + STRETCH, last)) for first in range(WINDOW, last, STRETCH)]
    for first, end in bounds:
        with as_key("", "operator"):
            asked = log_pb2.ReadLogRequest(first=first, end=end)
            body = b"".join([part.data async for part in log.servicer.ReadLog(asked, None)])
        query = f"?first={first}&end={end}" if end else f"?first={first}" if first else ""
        found[f"/v1/audit/entries{query}"] = body
    return found


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """The address, what is answered there, and what was asked for."""
    given, asked = dict[str, bytes](), list[str]()

    class Dac(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = given.get(self.path, b"{}")
            self.send_response(200 if self.path in given else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dac)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", STRETCH)
    monkeypatch.setattr(side_by_side, "processors", lambda: 2)
    yield f"http://127.0.0.1:{server.server_port}", given, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("alone", [10**9, 100])
async def test_the_command_reads_it_either_way(
    dropped: Dropped, served: tuple[str, dict[str, bytes], list[str]], alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verify, "ALONE", alone)
    url, given, asked = served
    kept = Checkpoint(KEY.name, 300, bytes(32))
    given |= await answers(dropped, kept)
    checked, holds = await asyncio.to_thread(audit_verify.check_log, url, KEY, None)
    assert holds and (checked.start, checked.findings) == (WINDOW, [])
    assert checked.start + checked.entries == (await dropped.store.head()).size
    assert any("end=" in urlsplit(one).query for one in asked) == (alone == 100)
    # A kept checkpoint of before is asked to be proven, and this one is of another log.
    checked, holds = await asyncio.to_thread(audit_verify.check_log, url, KEY, kept)
    assert not holds and "the log does not go on from it" in checked.findings[0].what
    given.pop(next(path for path in given if "consistency" in path))
    checked, holds = await asyncio.to_thread(audit_verify.check_log, url, KEY, kept)
    assert not holds and "check an archive against it" in checked.findings[0].what
