"""Discovery against PostgreSQL: replicas follow, last good copies stay, one leader, one run for all who ask."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.provider.calling.events import Attempt, Candidate
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.discovery.discovery import KEPT_S, Discovery, merge
from services.provider.discovery.listing_fetch import Fetched, ListingFailed, fetch_list
from services.provider.discovery.listing_store import PostgresListingStore, Probed
from services.provider.discovery.listings import MAX_MODELS, Listed
from services.provider.discovery.probing import Held, Prober
from services.provider.discovery.schedule import RETRY_S, DiscoverySchedule
from services.provider.keys.vault import Vault
from services.provider.registry import Registry
from tests.upstream import Upstream

CONFIG = ProviderConfig(poll_interval_s=0.05, discovery_timeout_s=2.0, discovery_first_s=0.0)
KEY = Secret("sk-test-0123456789abcd")


class Clock:
    def __init__(self) -> None:
        self.now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)

    def __call__(self) -> datetime.datetime:
        return self.now


class Source:
    """Lists as a test wants them."""

    def __init__(self) -> None:
        self.lists: dict[str, Any] = {}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.told: list[tuple[str, Sequence[Listed]]] = []

    async def fetch(self, entry: ProviderEntry, timeout_s: float) -> Fetched:
        self.asked.append(entry.provider)
        await self.gate.wait()
        listed = self.lists[entry.provider]
        if isinstance(listed, Exception):
            raise listed
        return Fetched([Listed(name) for name in listed], 0)

    async def propose(self, provider: str, models: Sequence[Listed]) -> None:
        self.told.append((provider, models))
        if provider.startswith("deaf"):
            raise MeshError(Reason.UNAVAILABLE, "budget is away")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def name() -> str:
    """A provider that no other test has."""
    return "p" + uuid7()[-12:]


Make = Callable[..., Awaitable[Discovery]]


@pytest.fixture
async def make(database_for: Callable[..., Awaitable[Database]], clock: Clock, source: Source) -> AsyncIterator[Make]:
    opened: list[tuple[Discovery, Registry]] = []

    async def made(*names: str, base_url: str = "http://127.0.0.1:1/v1", stored: bool = True) -> Discovery:
        entries = [ProviderEntry(one, "openai", base_url, KEY) for one in names]
        registry = Registry(entries, CONFIG, None, Vault(b"k" * 32, "key"), now=clock)
        await registry.start()
        store = PostgresListingStore(await database_for("provider")) if stored else None
        discovery = Discovery(registry, store, CONFIG, now=clock, propose=source.propose, fetch=source.fetch)
        await discovery.start()
        opened.append((discovery, registry))
        return discovery

    yield made
    for discovery, registry in opened:
        await discovery.close()
        await registry.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


def names_of(discovery: Discovery, provider: str, *, gone: bool = False) -> list[str]:
    listing = discovery.listings().get(provider)
    return [] if listing is None else sorted(one.name for one in listing.models if one.gone == gone)


async def test_replicas_follow_and_a_restart_finds_the_last_good_copy(
    make: Make, source: Source, name: str, clock: Clock
) -> None:
    first, second = await make(name), await make(name)
    seen: list[list[str]] = []

    async def watch() -> None:
        async for listings in second.snapshots():
            seen.append([one.name for one in listings[name].models] if name in listings else [])

    watching = asyncio.create_task(watch())
    source.lists[name] = ["b", "a"]
    (ran,) = await first.run()
    assert (ran.found, ran.added, ran.error, ran.listed_at) == (2, ("a", "b"), "", clock.now)
    await until(lambda: names_of(second, name) == ["a", "b"] and bool(seen) and seen[-1] == ["b", "a"])
    watching.cancel()
    source.lists[name] = ListingFailed("it answered 503")
    listed_at, clock.now = clock.now, clock.now + datetime.timedelta(hours=1)
    (failed,) = await second.run([name])
    assert (failed.found, failed.error, failed.listed_at) == (2, "it answered 503", listed_at)
    third = await make(name)
    assert names_of(third, name) == ["a", "b"]
    kept = third.listings()[name]
    assert (kept.error, kept.listed_at, kept.tried_at) == ("it answered 503", listed_at, clock.now)
    moved = await make(name, base_url="http://127.0.0.1:2/v1")
    assert name not in moved.listings(), "a list from another address does not count"
    source.lists[name] = ListingFailed("nothing")
    await moved.run()
    assert names_of(moved, name) == []


async def test_an_oddity_of_one_list_is_no_failure_of_the_others(make: Make, source: Source, name: str) -> None:
    discovery = await make(name, f"deaf{name}", f"odd{name}", f"empty{name}")
    source.lists = {name: ["m"], f"deaf{name}": ["m"], f"odd{name}": RuntimeError("secret"), f"empty{name}": []}
    found = {one.provider: one for one in await discovery.run()}
    assert found[name].found == 1 and found[f"deaf{name}"].found == 1
    assert "RuntimeError" in found[f"odd{name}"].error and "secret" not in found[f"odd{name}"].error
    assert "empty" in found[f"empty{name}"].error
    assert [provider for provider, _ in source.told] == [name, f"deaf{name}"] or len(source.told) == 2


async def test_who_asks_meanwhile_gets_the_same_answer_and_leaving_stops_nothing(
    make: Make, source: Source, name: str
) -> None:
    discovery = await make(name)
    source.lists[name] = ["m"]
    source.gate.clear()
    leaving, staying = asyncio.create_task(discovery.run()), asyncio.create_task(discovery.run([name]))
    await until(lambda: source.asked == [name])
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    source.gate.set()
    (ran,) = await staying
    assert ran.found == 1 and source.asked == [name]
    await discovery.run()
    assert source.asked == [name, name]


async def test_names_that_cannot_be_asked(make: Make, name: str) -> None:
    discovery = await make(name)
    for wrong in ("nobody", ""):
        with pytest.raises(MeshError) as caught:
            await discovery.run([wrong])
        assert caught.value.reason is Reason.NOT_FOUND


async def test_without_a_database_it_is_remembered_while_it_runs(make: Make, source: Source, name: str) -> None:
    discovery = await make(name, stored=False)
    source.lists[name] = ["m"]
    await discovery.run()
    assert names_of(discovery, name) == ["m"]
    probed = Probed(name, "m", 0.5, 4, 4, 1.0, 2.0, ("json",), datetime.datetime.now(datetime.UTC))
    await discovery.keep_probe(probed)
    assert discovery.probe_of(name, "m") == probed and discovery.probe_of(name, "n") is None


async def test_probes_are_kept_and_followed(make: Make, name: str, clock: Clock) -> None:
    first, second = await make(name), await make(name)
    probed = Probed(name, "m", 0.375, 3, 4, 80.5, 120.25, ("json", "tools"), clock.now)
    await first.keep_probe(probed)
    await until(lambda: second.probe_of(name, "m") == probed)


async def test_the_schedule_asks_when_due_and_one_leader_asks_for_all(
    make: Make, source: Source, name: str, clock: Clock, database_for: Callable[..., Awaitable[Database]]
) -> None:
    first, second = await make(name), await make(name)
    source.lists[name] = ["m"]
    schedules = [
        DiscoverySchedule(one, await database_for("provider"), CONFIG, now=clock, jitter=lambda: 0.5, look_s=0.02)
        for one in (first, second)
    ]
    for schedule in schedules:
        schedule.start()
    await until(lambda: names_of(second, name) == ["m"])
    await asyncio.sleep(0.2)
    assert source.asked == [name], "it is not due again, and the second is no leader"
    clock.now += datetime.timedelta(seconds=CONFIG.discovery_interval_s + 1)
    await until(lambda: len(source.asked) == 2)
    await until(lambda: not first._under_way)
    source.lists[name] = ListingFailed("it answered 503")
    await first.run()
    await asyncio.sleep(0.2)
    assert len(source.asked) == 3, "a failure is not asked after at once"
    source.lists[name] = ["m", "n"]
    clock.now += datetime.timedelta(seconds=RETRY_S)
    await until(lambda: names_of(second, name) == ["m", "n"])
    for schedule in schedules:
        await schedule.close()
    never = DiscoverySchedule(first, await database_for("provider"), ProviderConfig(discovery_interval_s=0), now=clock)
    never.start()
    assert never._task is None


def test_a_vanished_model_is_kept_for_a_week() -> None:
    start, added, gone = merge([], [Listed("a"), Listed("b")], 1000.0)
    assert (added, gone, [one.seen_s for one in start]) == (("a", "b"), (), [1000.0, 1000.0])
    later, added, gone = merge(start, [Listed("a")], 2000.0)
    assert (added, gone) == ((), ("b",))
    assert {one.name: (one.gone, one.seen_s) for one in later} == {"a": (False, 2000.0), "b": (True, 1000.0)}
    still, added, gone = merge(later, [Listed("a")], 1000.0 + KEPT_S - 1)
    assert (added, gone, len(still)) == ((), (), 2)
    back, added, gone = merge(still, [Listed("a"), Listed("b")], 1000.0 + KEPT_S)
    assert (added, gone, [one.gone for one in back]) == (("b",), (), [False, False])
    forgotten, _, _ = merge(later, [Listed("a")], 1001.0 + KEPT_S)
    assert [one.name for one in forgotten] == ["a"]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


async def test_every_page_of_every_dialect_is_asked(upstream: Upstream) -> None:
    def entry(kind: str, base_url: str) -> ProviderEntry:
        return ProviderEntry("up", kind, base_url, KEY)

    found = await fetch_list(entry("openai", upstream.base_url), 5)
    assert [one.name for one in found.models] == ["gpt-4o-mini", "gpt-4o", "echo-1"]
    found = await fetch_list(entry("anthropic", upstream.origin), 5)
    assert "claude-haiku-4-5" in [one.name for one in found.models]
    found = await fetch_list(entry("gemini", upstream.origin + "/v1beta"), 5)
    assert "gemini-2.5-pro" in [one.name for one in found.models]
    first, second = upstream.requests[:2]
    assert first.headers["authorization"] == f"Bearer {KEY.reveal()}" and "x-api-key" not in first.headers
    assert second.headers["x-api-key"] == KEY.reveal() and "authorization" not in second.headers
    upstream.clear()
    rows = '{"data": [{"id": "one"}], "has_more": true, "last_id": "one&x=1"}'
    upstream.script("ok", models=rows, times=1)
    upstream.script("ok", models='{"data": [{"id": "two"}, {"id": "one"}], "has_more": false}', times=1)
    paged = await fetch_list(entry("anthropic", upstream.origin), 5)
    assert [one.name for one in paged.models] == ["one", "two"] and paged.dropped == 1
    upstream.clear()
    upstream.script("ok", models=rows)
    endless = await fetch_list(entry("anthropic", upstream.origin), 5)
    assert len(endless.models) == 1 and len(upstream.requests) == 2, "a page without news is the last"
    upstream.clear()
    upstream.script("ok", models="10000", times=1)
    many = await fetch_list(entry("openai", upstream.base_url), 5)
    assert (len(many.models), many.dropped) == (MAX_MODELS, 10000 - MAX_MODELS)
    for fault, fields, said in (
        ("ok", {"delay_s": 5.0}, "longer than"),
        ("503", {}, "503"),
        ("redirect", {}, "302"),
        ("html", {}, "not JSON"),
    ):
        upstream.clear()
        upstream.script(fault, times=1, **fields)
        with pytest.raises(ListingFailed, match=said):
            await fetch_list(entry("openai", upstream.base_url), 0.3)
    api = ProviderEntry("up", "openai", upstream.base_url.replace("127.0.0.1", "localhost"), KEY, managed_by="api")
    with pytest.raises(ListingFailed, match="could not be reached"):
        await fetch_list(api, 5)


class Purse:
    """A till that counts."""

    def __init__(self, worst: int = 100, cost: int = 40, *, priced: bool = True) -> None:
        self.worst, self.cost, self.priced = worst, cost, priced
        self.held = self.charged = self.freed = 0
        self.errors: list[MeshError | None] = []

    async def hold(self, candidate: Candidate, body: bytes, input_tokens: int, input_tokens_max: int) -> Held:
        assert 0 < input_tokens <= input_tokens_max
        self.held += 1
        return Held(self.worst, self.priced, 0, None)

    async def charge(self, held: Held, attempts: Sequence[Attempt], error: MeshError | None) -> int:
        self.charged += 1
        self.errors.append(error)
        return self.cost

    async def free(self, held: Held, why: MeshError) -> None:
        self.freed += 1


async def test_questions_are_held_charged_and_stopped_at_the_limit(make_bench: Any, upstream: Upstream) -> None:
    bench = await make_bench()
    prober = Prober(Generator(bench.registry.find, ProviderConfig(), new_id=uuid7), now=Clock())
    candidate = Candidate("up/m", "up", "m")

    def script() -> None:
        upstream.clear()
        upstream.script("ok", text="The answer is 400.", times=1)
        upstream.script("ok", text="ELPPA", times=1)
        upstream.script("ok", text='```json\n{"sizes": [3, 1, 2], "city": "Oslo"}\n```', times=1)
        upstream.script("ok", arguments='{"room": "hall", "on": true}', times=1)

    script()
    purse = Purse()
    outcome = await prober.probe(candidate, purse, 1000)
    assert [(one.question, one.right) for one in outcome.asked] == [
        ("arithmetic", True),
        ("instruction", True),
        ("json", True),
        ("tool", False),
    ]
    assert outcome.probed is not None and outcome.probed.capabilities == ("json",)
    assert (outcome.probed.quality, outcome.probed.right, outcome.cost_nano_usd) == (0.375, 3, 160)
    assert (purse.held, purse.charged, purse.freed, purse.errors) == (4, 4, 0, [None] * 4)
    assert all((one.body.get("max_tokens") or 0) == 256 for one in upstream.requests), "the output is bounded"
    # 100 are held for each, 40 are spent: the third question does not fit into 179.
    script()
    purse = Purse()
    outcome = await prober.probe(candidate, purse, 179)
    assert outcome.probed is None and "of the limit are left" in outcome.why_not
    assert (purse.held, purse.charged, purse.freed, len(upstream.requests)) == (3, 2, 1, 2)
    purse = Purse(priced=False)
    outcome = await prober.probe(candidate, purse, 1000)
    assert "price is not known" in outcome.why_not and (purse.charged, purse.freed) == (0, 1)
    upstream.clear()
    upstream.script("503")
    purse = Purse()
    outcome = await prober.probe(candidate, purse, 1000)
    assert outcome.probed is None and purse.charged == 1 and purse.errors[0] is not None
    assert outcome.asked[0].reason is Reason.PROVIDER_FAILED
    # Whoever leaves in the middle of an answer leaves nothing unpaid.
    upstream.clear()
    upstream.script("ok", text="400 and more", token_delay_s=0.05)
    purse = Purse()
    leaving = asyncio.create_task(prober.probe(candidate, purse, 1000))
    await until(lambda: purse.held == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await until(lambda: purse.charged == 1)
    # Tools that are refused are a wrong answer, not a failure.
    script()
    upstream.scripts[3].fault, upstream.scripts[3].status = "status", 400
    outcome = await prober.probe(candidate, Purse(), 1000)
    assert outcome.probed is not None and outcome.probed.right == 3
