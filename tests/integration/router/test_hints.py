"""Two router replicas and a real Valkey or PostgreSQL: one's open breaker, and one that an operator holds, reaches the
other; nobody needs either to decide."""

import asyncio
import contextlib
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import msgspec
import pytest

from dac.router.v1 import router_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh import call as calls
from mesh.call import Call, serving
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.embedded_valkey import EmbeddedValkey
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.key_values import MemoryStore
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.redis_store import RedisStore
from mesh.service import Context
from services.router.config import RouterConfig
from services.router.deciding.hints import CHANNEL, Hint
from services.router.server import RouterService, build

BEST, SECOND, THIRD = "a/best", "b/second", "b/third"
T = TypeVar("T")
OPEN = router_pb2.Breaker.STATE_OPEN


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(calls, "_service_principal", lambda name: (Principal(service=name), b""))
    with serving(Call(principal=Principal(org_id="o"))):
        yield


@pytest.fixture
def valkey(tmp_path: pathlib.Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def replica(name: str, redis_url: str | None, folder: pathlib.Path, database: Database | None = None) -> RouterService:
    nobody: Any = None
    table: Any = MethodTable()
    qualities = {BEST: 0.9, SECOND: 0.85, THIRD: 0.8}
    models = tuple(
        ModelEntry(model, model[0], model[2:], 100_000, quality=quality, capabilities=())
        for model, quality in qualities.items()
    )
    context = Context(
        name="router",
        config=RouterConfig(),
        providers=(ProviderEntry("a", "openai", "http://x"), ProviderEntry("b", "openai", "http://x")),
        models=models,
        data_dir=folder,
        keyring=Keyring(b"m" * 32),
        signer=nobody,
        database=database,
        channel_to=lambda service: LocalChannel(table),
        instance=name,
        redis_url=redis_url,
    )
    service = build(context)
    assert isinstance(service, RouterService)
    return service


@pytest.fixture
async def pair(valkey: EmbeddedValkey, tmp_path: pathlib.Path) -> AsyncIterator[tuple[RouterService, RouterService]]:
    one, two = replica("one", valkey.url, tmp_path), replica("two", valkey.url, tmp_path)
    await one.start()
    await two.start()
    yield one, two
    await one.close()
    await two.close()


async def chain(service: RouterService) -> list[str]:
    response = await service.router.Route(router_pb2.RouteRequest(model="auto:quality"), None)
    return [candidate.model for candidate in response.candidates]


async def open_breaker(service: RouterService, model: str) -> None:
    fault = router_pb2.AttemptOutcome(model=model, provider=model[0], provider_fault=True)
    await service.router.ReportOutcomes(router_pb2.ReportOutcomesRequest(outcomes=[fault] * 3), None)


async def open_breaker_anew(service: RouterService, model: str) -> None:
    success = router_pb2.AttemptOutcome(model=model, provider=model[0], ok=True)
    await service.router.ReportOutcomes(router_pb2.ReportOutcomesRequest(outcomes=[success] * 7), None)
    await open_breaker(service, model)


async def left_out(service: RouterService, model: str, tell: Callable[[], Awaitable[None]]) -> None:
    """Tell until it is heard: one hint may be lost, as any call to Valkey that takes over 40 ms is given up."""
    async with asyncio.timeout(20):
        while model in await chain(service):
            await tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    while model in await chain(service):
                        await asyncio.sleep(0.005)


def at_once(answer: Coroutine[Any, Any, T]) -> T:
    """The answer of a call that never waits for anything: it is over after its first step."""
    try:
        answer.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the call waited")


async def test_a_breaker_that_opens_is_left_out_by_the_other_replica(pair: tuple[RouterService, RouterService]) -> None:
    one, two = pair
    assert (await chain(two))[0] == BEST
    await left_out(two, BEST, lambda: open_breaker_anew(one, BEST))
    status = await two.router.GetStatus(router_pb2.GetStatusRequest(), None)
    assert [(breaker.model, breaker.state) for breaker in status.breakers] == [(BEST, OPEN)]
    assert 58 < status.breakers[0].retry_in_s <= 60
    assert THIRD in await chain(two)


async def test_hints_of_oneself_and_of_unknown_models_are_ignored(
    pair: tuple[RouterService, RouterService], valkey: EmbeddedValkey
) -> None:
    _, two = pair
    store = RedisStore(valkey.url, MemoryStore())

    async def tell() -> None:
        for hint in (Hint(SECOND, "b", "two"), Hint("a/nope", "a", "x"), Hint(BEST, "b", "x"), Hint(THIRD, "b", "x")):
            await store.publish(CHANNEL, msgspec.json.encode(hint))

    # The last one is good and shows that those before it were heard.
    await left_out(two, THIRD, tell)
    await store.close()
    status = await two.router.GetStatus(router_pb2.GetStatusRequest(), None)
    assert [breaker.model for breaker in status.breakers] == [THIRD]


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_valkey_everything_is_as_before(
    pair: tuple[RouterService, RouterService], valkey: EmbeddedValkey, how: str
) -> None:
    one, two = pair
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    if how == "killed":
        valkey.process.wait()
    for model in (BEST, SECOND):
        at_once(open_breaker(one, model))
        for _ in range(20):
            assert model not in at_once(chain(one))
            # The background task gets its turns, so that its waits would show.
            await asyncio.sleep(0.005)
    assert await chain(one) == [THIRD]
    assert (await chain(two))[0] == BEST
    if how == "killed":
        valkey.start()
        # The subscription comes back by itself, and with it the hints.
        await left_out(two, THIRD, lambda: open_breaker_anew(one, THIRD))
    else:
        valkey.process.send_signal(signal.SIGCONT)


async def test_a_closed_replica_leaves_no_task_behind(valkey: EmbeddedValkey, tmp_path: pathlib.Path) -> None:
    before = asyncio.all_tasks()
    one = replica("one", valkey.url, tmp_path)
    await one.start()
    assert asyncio.all_tasks() > before
    await one.close()
    assert asyncio.all_tasks() == before


async def test_without_an_address_nothing_is_exchanged(tmp_path: pathlib.Path) -> None:
    alone = replica("alone", None, tmp_path)
    await alone.start()
    await open_breaker(alone, BEST)
    assert (await chain(alone))[0] == SECOND
    await alone.close()


async def test_a_replica_starts_while_valkey_is_down(tmp_path: pathlib.Path) -> None:
    began = time.perf_counter()
    alone = replica("alone", f"unix://{tmp_path / 'nobody.sock'}", tmp_path)
    await alone.start()
    assert time.perf_counter() - began < 5 and (await chain(alone))[0] == BEST
    await open_breaker(alone, BEST)
    assert (await chain(alone))[0] == SECOND
    await alone.close()


@pytest.fixture
async def without_redis(
    database_for: Callable[..., Awaitable[Database]], tmp_path: pathlib.Path
) -> AsyncIterator[Callable[[str], Awaitable[RouterService]]]:
    """Starts replicas that have PostgreSQL alone."""
    running: list[RouterService] = []

    async def start(name: str) -> RouterService:
        one = replica(name, None, tmp_path, await database_for("router"))
        await one.start()
        running.append(one)
        return one

    yield start
    for one in running:
        await one.close()


async def test_without_a_redis_hints_go_through_postgresql(
    without_redis: Callable[[str], Awaitable[RouterService]],
) -> None:
    one, two = await without_redis("one"), await without_redis("two")
    assert (await chain(two))[0] == BEST
    await left_out(two, BEST, lambda: open_breaker_anew(one, BEST))
    assert BEST not in await chain(one) and THIRD in await chain(two)


async def hold(service: RouterService, model: str, state: int) -> None:
    operator = Principal(scopes=["operator"])
    with serving(Call(principal=operator)):
        await service.router.ForceBreaker(router_pb2.ForceBreakerRequest(model=model, state=state), None)  # type: ignore[arg-type]


async def until_first(service: RouterService, model: str) -> None:
    async with asyncio.timeout(20):
        while (await chain(service))[0] != model:
            await asyncio.sleep(0.005)


async def test_what_an_operator_holds_is_held_everywhere_and_beyond_a_restart(
    without_redis: Callable[[str], Awaitable[RouterService]],
) -> None:
    one, two = await without_redis("one"), await without_redis("two")
    try:
        await hold(one, BEST, OPEN)
        assert (await chain(one))[0] == SECOND
        await until_first(two, SECOND)
        status = await two.router.GetStatus(router_pb2.GetStatusRequest(), None)
        assert [(breaker.model, breaker.state, breaker.forced) for breaker in status.breakers] == [(BEST, OPEN, True)]
        later = await without_redis("later")
        assert (await chain(later))[0] == SECOND, "who starts later holds it from the first decision on"
        await hold(two, SECOND, router_pb2.Breaker.STATE_CLOSED)
        await open_breaker(two, SECOND)
        assert (await chain(two))[0] == SECOND, "held closed"
    finally:
        await hold(two, BEST, router_pb2.Breaker.STATE_UNSPECIFIED)
        await hold(two, SECOND, router_pb2.Breaker.STATE_UNSPECIFIED)
    await until_first(one, BEST)
    await until_first(later, BEST)
    assert (await chain(await without_redis("last")))[0] == BEST


async def test_one_that_is_let_go_begins_closed_on_every_replica(
    without_redis: Callable[[str], Awaitable[RouterService]],
) -> None:
    one, two = await without_redis("one"), await without_redis("two")
    # Open by the own count of one, and on its word at the other.
    await left_out(one, BEST, lambda: open_breaker_anew(two, BEST))
    assert BEST not in await chain(two)
    await hold(one, BEST, router_pb2.Breaker.STATE_UNSPECIFIED)
    assert (await chain(one))[0] == BEST
    await until_first(two, BEST)


async def test_what_is_held_stays_so_while_its_model_comes_and_goes(
    without_redis: Callable[[str], Awaitable[RouterService]],
) -> None:
    one = await without_redis("one")
    catalog = one.router._catalog
    models = catalog._models
    try:
        await hold(one, BEST, OPEN)
        for _ in range(3):
            catalog.hear_models(tuple(model for model in models if model.model != BEST))
            assert BEST not in at_once(chain(one))
            catalog.hear_models(models)
            assert at_once(chain(one))[0] == SECOND, "held from the first decision on, before anything is read again"
    finally:
        await hold(one, BEST, router_pb2.Breaker.STATE_UNSPECIFIED)
