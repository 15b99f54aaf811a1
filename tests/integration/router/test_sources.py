"""Sources against a server of our own: fetched, confirmed, kept through failures and restarts, never led astray."""

import asyncio
import logging
import pathlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason
from services.router.config import RouterConfig
from services.router.sources import fetching, last_good, lmarena, openrouter
from services.router.sources.facts import Facts
from services.router.sources.scheduler import Sources
from tests.unit.router.sources.answers import LMARENA_ROWS, OPENROUTER, encoded

LARGE = ModelEntry("openrouter/acme/large-2", "openrouter", "acme/large-2", context_tokens=1)
MINI = ModelEntry("openai/gpt-4o-mini", "openai", "gpt-4o-mini", context_tokens=1)
PATIENCE_S = 10.0


class World:
    """A source's server, and the sources of one or more processes in front of it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.now_s = folder, 1_800_000_000.0
        self.asked: list[dict[str, str]] = []
        self.replies: list[web.Response] = []
        """What is answered, one after the other; the last one again and again."""
        self.was_asked = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.facts: Mapping[str, Facts] = {}
        self.told = asyncio.Event()
        self._running: list[Sources] = []
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({"path": request.path_qs, **{name.lower(): one for name, one in request.headers.items()}})
        self.was_asked.set()
        if self.held is not None:
            await self.held.wait()
        reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        if reply.status == 200 and reply.headers.get("ETag") and request.headers.get("If-None-Match"):
            return web.Response(status=304)
        # A response is sent once; the script's one may be needed again.
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def address(self, name: str = "openrouter", path: str = "/models") -> str:
        return f"{name}={self.server.make_url(path)}"

    def process(self, **settings: Any) -> Sources:
        """The sources of one process: only the source of this server is asked, and not by the clock."""
        config = RouterConfig(
            **{
                "sources": ("openrouter",),
                "source_addresses": (self.address(),),
                "source_private_addresses": True,
                "source_first_s": 1e6,
                "source_timeout_s": 5.0,
                **settings,
            }
        )
        sources = Sources(config, self.folder / "copies", self._hear, now=lambda: self.now_s, jitter=lambda: 0.0)
        sources.look_at([LARGE, MINI])
        self._running.append(sources)
        return sources

    def _hear(self, facts: Mapping[str, Facts]) -> None:
        self.facts = facts
        self.told.set()

    async def heard(self) -> Mapping[str, Facts]:
        """The facts that are told next."""
        async with asyncio.timeout(PATIENCE_S):
            await self.told.wait()
        self.told.clear()
        return self.facts

    async def close(self) -> None:
        for one in self._running:
            await one.close()
        await self.server.close()


@pytest.fixture
async def world(tmp_path: pathlib.Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.server.start_server()
    yield made
    await made.close()


def good(document: Any = OPENROUTER, **headers: str) -> web.Response:
    return web.Response(body=encoded(document), headers=headers)


async def test_an_answer_is_kept_joined_and_confirmed(world: World) -> None:
    world.replies = [good(ETag='"one"')]
    sources = world.process()
    (status,) = await sources.refresh()
    assert (status.origin, status.rows, status.error, status.age_s) == ("fetched", 2, "", 0.0)
    assert world.facts[LARGE.model].context_tokens == 131072
    assert world.asked[0].get("if-none-match") is None and "authorization" not in world.asked[0]
    world.now_s += 100
    assert sources.statuses(["openrouter"])[0].age_s == 100.0
    (status,) = await sources.refresh(["openrouter"])
    assert world.asked[1]["if-none-match"] == '"one"'
    assert (status.rows, status.error, status.age_s) == (2, "", 0.0)


async def test_the_snapshot_counts_from_the_first_second(world: World) -> None:
    sources = world.process(offline=True)
    await sources.start()
    facts = await world.heard()
    assert facts[MINI.model].context_tokens == 128000 and facts[MINI.model].quality is not None
    by_name = {one.source: one for one in sources.statuses()}
    assert (by_name["models_dev"].origin, by_name["openrouter"].origin) == ("shipped", "")
    assert by_name["models_dev"].rows > 6000 and by_name["models_dev"].age_s > 0


async def test_offline_asks_nobody(world: World) -> None:
    world.replies = [good()]
    sources = world.process(offline=True, source_first_s=0.0)
    await sources.start()
    await world.heard()
    with pytest.raises(MeshError) as refused:
        await sources.refresh()
    assert refused.value.reason is Reason.FAILED_PRECONDITION and "offline" in refused.value.message
    assert not world.asked and not any(one.asked for one in sources.statuses())


async def test_a_source_that_is_not_asked_is_refused(world: World) -> None:
    for name in ("lmarena", "nobody", "benchmarks"):
        with pytest.raises(MeshError, match=name) as refused:
            await world.process().refresh([name])
        assert refused.value.reason is Reason.INVALID_REQUEST


BAD = {
    "a failure": (web.Response(status=503, body=b"secret of theirs"), "answered 503"),
    "a redirect": (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "redirects"),
    "a page": (web.Response(body=b"<html>sorry</html>"), "HTML"),
    "half": (web.Response(body=encoded(OPENROUTER)[:300]), "not JSON"),
    "nothing": (web.Response(body=b""), "empty"),
    "another thing": (web.Response(body=b'{"data": "none"}'), "no list"),
    "unasked 304": (web.Response(status=304), "answered 304"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_failure_keeps_what_was_known(world: World, name: str, caplog: pytest.LogCaptureFixture) -> None:
    reply, why = BAD[name]
    world.replies = [good(), reply]
    sources = world.process()
    await sources.refresh()
    before = last_good.path_of(world.folder / "copies", "openrouter").read_bytes()
    world.now_s += 50
    with caplog.at_level(logging.INFO, "dac.router"):
        (status,) = await sources.refresh()
        await sources.refresh()
    assert why in status.error and "theirs" not in status.error
    assert (status.origin, status.rows, status.age_s, status.tried_at_s) == ("fetched", 2, 50.0, world.now_s)
    assert world.facts[LARGE.model].context_tokens == 131072
    assert last_good.path_of(world.folder / "copies", "openrouter").read_bytes() == before
    # The same failure is told once, without a stack.
    (told,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "openrouter" in told.getMessage() and told.exc_info is None
    world.replies = [good()]
    assert (await sources.refresh())[0].error == ""


async def test_a_source_that_is_gone_slow_or_too_large_fails(world: World) -> None:
    world.replies, world.held = [good()], asyncio.Event()
    (slow,) = await world.process(source_timeout_s=0.05).refresh()
    assert "longer than 0.05 s" in slow.error
    world.held.set()
    with pytest.raises(fetching.FetchFailed, match="larger"):
        url = str(world.server.make_url("/"))
        await fetching.fetch([url], timeout_s=5, allow_private=True, max_bytes=100)
    unreached = world.process()
    await world.server.close()
    (gone,) = await unreached.refresh()
    assert "could not be reached" in gone.error


async def test_an_answer_that_lost_nearly_everything_is_a_mistake(world: World) -> None:
    rows = [dict(OPENROUTER["data"][0], id=f"acme/{at}") for at in range(60)]
    world.replies = [good({"data": rows}), good({"data": rows[:5]}), good({"data": rows[:20]})]
    sources = world.process()
    assert (await sources.refresh())[0].rows == 60
    lost = (await sources.refresh())[0]
    assert lost.rows == 60 and "the last one had 60" in lost.error
    assert (await sources.refresh())[0].rows == 20


async def test_a_restart_reads_the_copy(world: World) -> None:
    world.replies = [good()]
    await world.process().refresh()
    again = world.process()
    await world.server.close()
    world.now_s += 1000
    world.told.clear()
    await again.start()
    assert (await world.heard())[LARGE.model].context_tokens == 131072
    (status,) = again.statuses(["openrouter"])
    assert (status.origin, status.rows, status.age_s) == ("fetched", 2, 1000.0)


@pytest.mark.parametrize("harm", ["changed", "cut", "another form", "something else"])
async def test_a_copy_that_was_harmed_gives_way_to_the_snapshot(
    world: World, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    changed = {"openai/gpt-4o-mini": 5, "openai/never-shipped": 6}
    document: dict[str, Any] = {"openai": {"models": {}}}
    for name, context in changed.items():
        plain = name.split("/")[1]
        document["openai"]["models"][plain] = {"id": plain, "tool_call": True, "limit": {"context": context}}
    world.replies = [good(document)]
    settings = {"sources": ("models_dev",), "source_addresses": (world.address("models_dev"),)}
    await world.process(**settings).refresh()
    assert world.facts[MINI.model].context_tokens == 5
    path = last_good.path_of(world.folder / "copies", "models_dev")
    body = path.read_bytes()
    path.write_bytes(
        {
            "changed": body[:-9] + bytes([body[-9] ^ 1]) + body[-8:],
            "cut": body[: len(body) // 2],
            "another form": body.replace(b'"version":1', b'"version":9'),
            "something else": b"not ours",
        }[harm]
    )
    world.told.clear()
    again = world.process(**settings)
    with caplog.at_level(logging.WARNING, "dac.router"):
        await again.start()
        assert (await world.heard())[MINI.model].context_tokens == 128000
    (status,) = again.statuses(["models_dev"])
    assert (status.origin, status.asked) == ("shipped", True) and "left aside" in status.error
    assert len([one for one in caplog.records if "left aside" in one.getMessage()]) == 1
    assert (await again.refresh())[0].origin == "fetched"
    assert world.facts[MINI.model].context_tokens == 5


async def test_what_the_snapshot_knows_more_stays(world: World) -> None:
    world.replies = [good({"acme": {"models": {"x": {"id": "x", "limit": {"context": 7}}}}})]
    sources = world.process(sources=("models_dev",), source_addresses=(world.address("models_dev"),))
    (status,) = await sources.refresh()
    assert status.rows == 1 and world.facts[MINI.model].context_tokens == 128000


async def test_the_clock_asks_and_asks_again_after_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.router.sources.scheduler.RETRY_S", 0.0)
    world.replies = [web.Response(status=500), good()]
    sources = world.process(source_first_s=0.0)
    await sources.start()
    async with asyncio.timeout(PATIENCE_S):
        while LARGE.model not in await world.heard():
            pass
    assert len(world.asked) == 2 and sources.statuses(["openrouter"])[0].error == ""


async def test_processes_that_share_a_folder_share_copies(world: World) -> None:
    world.replies = [good()]
    one, other = world.process(), world.process(source_first_s=0.0)
    await one.refresh()
    world.told.clear()
    await other.start()
    assert (await world.heard())[LARGE.model].context_tokens == 131072
    await other.close()
    assert len(world.asked) == 1
    assert other.statuses(["openrouter"])[0].origin == "fetched"


async def test_a_copy_that_vanished_is_fetched_anew(world: World) -> None:
    world.replies = [good(ETag='"one"')]
    sources = world.process()
    await sources.refresh()
    last_good.path_of(world.folder / "copies", "openrouter").unlink()
    (lost,) = await sources.refresh()
    assert world.asked[1]["if-none-match"] == '"one"' and "of no use" in lost.error
    (status,) = await sources.refresh()
    assert "if-none-match" not in world.asked[2] and (status.origin, status.error) == ("fetched", "")


async def test_who_asks_while_it_is_asked_gets_the_same_answer(world: World) -> None:
    world.replies, world.held = [good()], asyncio.Event()
    sources = world.process()
    first = asyncio.create_task(sources.refresh())
    async with asyncio.timeout(PATIENCE_S):
        await world.was_asked.wait()
    second = asyncio.create_task(sources.refresh())
    await asyncio.sleep(0)
    world.held.set()
    for status in [*await first, *await second]:
        assert (status.origin, status.error) == ("fetched", "")
    assert len(world.asked) == 1


async def test_pages_are_read_to_the_end(world: World) -> None:
    rows = [
        {"row": {"model_name": f"acme-{at}", "rating": 1300.0, "category": "overall"}}
        for at in range(lmarena.PAGE_ROWS)
    ]
    world.replies = [good({"rows": rows}), good(LMARENA_ROWS)]
    sources = world.process(
        sources=("lmarena",), source_addresses=(world.address("lmarena", "/rows") + "?offset={offset}",)
    )
    (status,) = await sources.refresh()
    assert (status.rows, status.error) == (lmarena.PAGE_ROWS + 1, "")
    assert [one["path"] for one in world.asked] == ["/rows?offset=0", "/rows?offset=100"]
    world.replies, world.now_s = [good({"rows": rows})], world.now_s + 1
    (endless,) = await sources.refresh()
    assert "more than" in endless.error and endless.rows == lmarena.PAGE_ROWS + 1


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/api.json",
        "https://127.0.0.1/api.json",
        "https://localhost/api.json",
        "https://[::1]/api.json",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/x",
        "https://10.1.2.3:8443/x",
        "https://user:pass@example.com/x",
        "https://exa mple.com/x",
        "file:///etc/passwd",
        "https:///x",
        "https://[::1/x",
    ],
)
async def test_no_private_address_is_asked(address: str) -> None:
    with pytest.raises(fetching.FetchFailed) as refused:
        await fetching.fetch([address], timeout_s=5)
    assert "could not be reached" not in str(refused.value), "it was tried"


async def test_no_name_of_a_private_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def private(self: Any, host: str, port: int, family: Any) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0}
            for one in ("93.184.215.14", "10.0.0.8")
        ]

    monkeypatch.setattr("mesh.public_resolver.ThreadedResolver.resolve", private)
    with pytest.raises(fetching.FetchFailed, match="private"):
        await fetching.fetch(["https://models.example.com/api.json"], timeout_s=5)


def test_addresses_are_checked_when_the_configuration_is_read() -> None:
    for wrong in (
        "models_dev",
        "nobody=https://a.example.com",
        "models_dev=http://a.example.com",
        "models_dev=https://localhost/",
    ):
        with pytest.raises(ValueError, match="source_addresses"):
            RouterConfig(source_addresses=(wrong,))
    RouterConfig(source_addresses=("models_dev=http://localhost:9/",), source_private_addresses=True)
    for bad in ({"sources": ("nobody",)}, {"source_interval_s": 1.0}, {"source_timeout_s": 0}, {"source_first_s": -1}):
        with pytest.raises(ValueError, match="source"):
            RouterConfig(**bad)


async def test_a_folder_that_cannot_be_written_is_told_and_harms_nothing(world: World) -> None:
    (world.folder / "copies").write_text("a file stands where the folder should be")
    world.replies = [good()]
    sources = world.process()
    (status,) = await sources.refresh()
    assert "could not be written" in status.error and status.origin == ""
    assert world.facts[MINI.model].context_tokens == 128000


def test_the_default_addresses_are_ones_that_may_be_asked() -> None:
    for address in (*openrouter.ADDRESSES, *lmarena.ADDRESSES):
        fetching.check_address(address, allow_private=False)
    assert msgspec.structs.fields(last_good.Copy)
