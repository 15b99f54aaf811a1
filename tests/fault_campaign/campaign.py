"""The run: one `dac up`, one provider that plays all cases, all requests at once within bounds, then the records."""

import asyncio
import dataclasses
import json
import os
import pathlib
import re
import time
from typing import Any

import aiohttp
import psutil

from bench.faults.raw_http import Connection, Request, Server
from tests.edge.conftest import Dac, new_key
from tests.fault_campaign import plays
from tests.fault_campaign.cases import BY_ID, TOTAL_S, Case
from tests.ports import free_port

START_S = 120
AT_ONCE = 10
PLACES = 16
"""max_concurrent of the providers: a few places that are not given back would make the rest answer as busy."""
KEY = "fault-secret-canary-77c1"
CONFIG = """
providers:
  chat: {{kind: openai, base_url: "{origin}/v1", {more}}}
  messages: {{kind: anthropic, base_url: "{origin}", {more}}}
  local: {{enabled: false}}
provider: {{plain_wait_factor: 1}}
models:
  - {{id: chat/m, provider: chat, name: m, context_tokens: 100000, {price}}}
  - {{id: messages/m, provider: messages, name: m, context_tokens: 100000, {price}}}
"""
MORE = (
    f"api_key: {{env: FAULT_KEY}}, allow_private_address: true, first_token_timeout_s: 2.5, idle_timeout_s: 2.5, "
    f"total_timeout_s: {TOTAL_S:g}, max_concurrent: {PLACES}"
)
PRICE = 'price: {input_usd_per_mtok: "1", output_usd_per_mtok: "2"}'
CASE = re.compile(r"case <([^>]*)>")


@dataclasses.dataclass
class Result:
    """What came of a case."""

    status: int = 0
    body: str = ""
    headers: str = ""
    took_s: float = 0.0
    broken: str = ""
    """The connection's own error, when the answer did not end as HTTP."""
    hung: bool = False
    record: dict[str, Any] | None = None
    attempts_seen: int = 0
    upstream_left_s: float | None = None
    """How long after the caller left DAC left the provider."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The stream's events as objects; those that are none as {"unreadable": …}."""
        found = []
        for line in self.body.splitlines():
            if line.startswith("data:") and line[5:].strip() != "[DONE]":
                try:
                    found.append(json.loads(line[5:]))
                except ValueError:
                    found.append({"unreadable": line})
        return [one if isinstance(one, dict) else {"unreadable": one} for one in found]

    @property
    def has_good_end(self) -> bool:
        """[DONE] or message_stop."""
        return "data: [DONE]" in self.body or "message_stop" in self.body

    @property
    def text(self) -> str:
        """The answer, streamed or not, in either form."""
        if not self.body.lstrip().startswith("{"):
            said = []
            for event in self.events:
                choices = event.get("choices") or [{}]
                said.append((choices[0].get("delta") or {}).get("content") or "")
                said.append((event.get("delta") or {}).get("text") or "")
            return "".join(said)
        whole = json.loads(self.body)
        if "choices" in whole:
            return str(whole["choices"][0]["message"]["content"])
        return "".join(str(block.get("text")) for block in whole.get("content") or [])


@dataclasses.dataclass
class Campaign:
    """All results, and what was left afterwards."""

    origin: str = ""
    results: dict[str, Result] = dataclasses.field(default_factory=dict)
    verdict: dict[str, Any] = dataclasses.field(default_factory=dict)
    gauges: dict[str, float] = dataclasses.field(default_factory=dict)
    log: str = ""
    connections: int = 0
    """To the provider, after everything."""
    peak_mb: float = 0.0
    before_mb: float = 0.0
    took_s: float = 0.0


class Player:
    """The provider: the case's name is in the prompt."""

    def __init__(self, results: dict[str, Result]) -> None:
        self._results = results
        self.left_at: dict[str, float] = {}

    async def serve(self, request: Request, connection: Connection) -> bool:
        """One request."""
        if request.method == "GET":
            await connection.answer(200, b'{"object": "list", "data": [], "has_more": false}')
            return True
        named = CASE.search(request.body.decode("utf-8", "replace"))
        case = BY_ID[named[1]] if named else None
        assert case is not None, request.body
        self._results[case.id].attempts_seen += 1
        dialect = "messages" if request.path.endswith("/messages") else "chat"
        args = dict(case.args)
        if case.leaves_after is not None:
            args["told"] = lambda left: self.left_at.update({case.id: time.monotonic()} if left else {})
        if case.play is plays.cut_once:
            args["turn"] = self._results[case.id].attempts_seen
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        return await case.play(connection, dialect, case.stream, key, **args)


async def run(cases: list[Case], folder: pathlib.Path) -> Campaign:
    """Everything from start to stop."""
    for case in cases:
        if case.play is plays.bomb:
            # Made beforehand: a second of work would make every answer of this loop late.
            plays.bomb_bytes(case.dialect, case.stream)
    campaign = Campaign(results={one.id: Result() for one in cases})
    player = Player(campaign.results)
    async with Server(player.serve) as server:
        campaign.origin = server.origin.removeprefix("http://")
        dac = start_of(folder, server.origin)
        await asyncio.to_thread(dac.start, START_S)
        try:
            began = time.monotonic()
            await _ask_all(cases, campaign, player, dac)
            campaign.took_s = time.monotonic() - began
            await _look_after(campaign, dac, int(server.origin.rpartition(":")[2]))
        finally:
            code = await asyncio.to_thread(dac.stop)
    assert code == 0, dac.log()
    campaign.log = (folder / "dac.log").read_text()
    return campaign


def start_of(folder: pathlib.Path, origin: str) -> Dac:
    """A `dac up` to be started."""
    http_port, grpc_port, key = free_port(), free_port(), new_key()
    config = folder / "dac.yaml"
    config.write_text(CONFIG.format(origin=origin, more=MORE, price=PRICE))
    env = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "DAC_HTTP_PORT": str(http_port),
        "DAC_GRPC_PORT": str(grpc_port),
        "DAC_DATA_DIR": str(folder / "data"),
        "DAC_BOOTSTRAP_API_KEY": key,
        "FAULT_KEY": KEY,
        "DAC_LOG_FORMAT": "json",
        # So many faults at once would use up every provider's retries.
        "DAC_PROVIDER_RETRY_RATIO": "0",
    }
    return Dac(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", key, folder / "data", config, env, ())


async def _ask_all(cases: list[Case], campaign: Campaign, player: Player, dac: Dac) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    process = psutil.Process(dac.process.pid)  # type: ignore[union-attr]
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        # The first request loads much: it is nobody's growth.
        campaign.before_mb = process.memory_info().rss / 1e6

        async def one(case: Case) -> None:
            async with places:
                result = campaign.results[case.id]
                began = time.monotonic()
                try:
                    async with asyncio.timeout(TOTAL_S * 3):
                        await _ask(case, result, session, dac, player)
                except TimeoutError:
                    result.hung = True
                except aiohttp.ClientError as error:
                    result.broken = repr(error)
                result.took_s = time.monotonic() - began
                campaign.peak_mb = max(campaign.peak_mb, process.memory_info().rss / 1e6)

        # The long ones first: the others run beside them.
        slow_first = sorted(cases, key=lambda case: -case.status)
        await asyncio.gather(*(one(case) for case in slow_first))
        await _read_records(campaign, session, dac)


async def _ask(case: Case, result: Result, session: aiohttp.ClientSession, dac: Dac, player: Player) -> None:
    body: dict[str, Any] = {"model": f"{case.dialect}/m", "stream": case.stream, "max_tokens": 500}
    body["messages"] = [{"role": "user", "content": f"case <{case.id}>"}]
    path = "/v1/messages" if case.wire == "messages" else "/v1/chat/completions"
    headers = {**dac.headers, "x-request-id": case.id}
    if case.leaves_after == 0:
        # Long enough for the provider to have been asked, short of its limit for the first token.
        try:
            async with asyncio.timeout(0.7):
                await session.post(dac.url + path, json=body, headers=headers)
        except TimeoutError:
            await _see_left(case, result, player, time.monotonic())
        return
    async with session.post(dac.url + path, json=body, headers=headers) as answer:
        result.status = answer.status
        result.headers = str(dict(answer.headers))
        if case.leaves_after is None:
            read = bytearray()
            try:
                async for piece in answer.content.iter_any():
                    read += piece
            finally:
                result.body = read.decode("utf-8", "replace")
            return
        while len(result.text.split()) < case.leaves_after and (line := await answer.content.readline()):
            result.body += line.decode()
        answer.close()
    await _see_left(case, result, player, time.monotonic())


async def _see_left(case: Case, result: Result, player: Player, left: float) -> None:
    until = left + 3
    while case.id not in player.left_at and time.monotonic() < until:
        await asyncio.sleep(0.01)
    if case.id in player.left_at:
        result.upstream_left_s = player.left_at[case.id] - left


async def _read_records(campaign: Campaign, session: aiohttp.ClientSession, dac: Dac) -> None:
    """Every case's record, once all have arrived."""
    until = time.monotonic() + 10
    while any(one.record is None for one in campaign.results.values()) and time.monotonic() < until:
        token = ""
        while True:
            url = f"{dac.url}/v1/requests?page_size=200&page_token={token}"
            async with session.get(url, headers=dac.headers) as answer:
                page = await answer.json()
            for record in page.get("requests", []):
                if (found := campaign.results.get(record.get("client_request_id", ""))) is not None:
                    found.record = record
            token = page.get("next_page_token", "")
            if not token:
                break
        await asyncio.sleep(0.1)


GAUGES = ("active_streams_current", "settlements_pending_current", "budget_reservations_open", "budget_queue_current")


async def _look_after(campaign: Campaign, dac: Dac, port: int) -> None:
    """What is still held once everything should be over."""
    until = time.monotonic() + 15
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{dac.url}/v1/budgets:verify", headers=dac.headers) as answer:
                campaign.verdict = await answer.json()
            async with session.get(f"{dac.url}/metrics", headers=dac.operator_headers) as answer:
                page = await answer.text()
            found = re.findall(rf"^({'|'.join(GAUGES)})(?:{{[^}}]*}})? (\S+)$", page, re.M)
            campaign.gauges = {name: float(value) for name, value in found}
            process = psutil.Process(dac.process.pid)  # type: ignore[union-attr]
            held = [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port == port]
            campaign.connections = sum(one.status != psutil.CONN_CLOSE_WAIT for one in held)
            clean = not any(campaign.gauges.values()) and not int(campaign.verdict.get("open_reservations", 0))
            if clean or time.monotonic() > until:
                return
            await asyncio.sleep(0.2)
