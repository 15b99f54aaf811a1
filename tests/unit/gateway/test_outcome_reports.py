"""What the router hears of attempts: faults at once, good news gathered, in the order in which it happened."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dac.router.v1.router_pb2 import AttemptOutcome, ReportOutcomesRequest
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import AttemptRecord
from mesh import call as calls
from mesh.errors import MeshError, Reason
from services.gateway.chat import outcome_reports
from services.gateway.chat.outcome_reports import OutcomeReports

GOOD, BAD = 0, int(Reason.PROVIDER_FAILED)


class Router:
    """Takes reports as the router does, and may be away."""

    def __init__(self) -> None:
        self.heard: list[AttemptOutcome] = []
        self.batches = 0
        self.away = False
        self.came = asyncio.Event()

    async def ReportOutcomes(self, request: ReportOutcomesRequest, timeout: float) -> None:
        self.batches += 1
        self.came.set()
        if self.away:
            raise MeshError(Reason.UNAVAILABLE, "away")
        self.heard += request.outcomes


@pytest.fixture(autouse=True)
def principal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(calls, "_service_principal", lambda name: (Principal(service=name), b""))
    yield


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    yield Router()


def attempt(reason: int = GOOD, **more: Any) -> AttemptRecord:
    made = AttemptRecord(model="a/m", provider="a", reason=reason, first_token_ms=120, **more)  # type: ignore[arg-type]
    made.started_at.FromMilliseconds(1000)
    made.ended_at.FromMilliseconds(3000)
    made.usage.output_tokens, made.usage.reasoning_tokens = 30, 12
    return made


async def settled(router: Router) -> None:
    async with asyncio.timeout(5):
        await router.came.wait()
    router.came.clear()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_fault_is_told_at_once_with_what_came_before_it(router: Router) -> None:
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    reports.add([attempt()], stream=True)
    await asyncio.sleep(0)
    assert not router.heard
    reports.add([attempt(BAD)], stream=True)
    await settled(router)
    assert [(one.ok, one.provider_fault) for one in router.heard] == [(True, False), (False, True)]
    reports.add([attempt()], stream=True)
    await settled(router)
    assert router.heard[2].ok and router.batches == 2, "the first success after a fault is told at once, too"


async def test_good_news_is_gathered(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_reports, "GATHERED_S", 0.01)
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    for _ in range(50):
        reports.add([attempt()], stream=True)
    await settled(router)
    assert len(router.heard) == 50 and router.batches == 1
    one = router.heard[0]
    assert (one.first_token_ms, one.total_ms, one.output_tokens) == (120, 2000, 42)


async def test_only_a_stream_says_when_its_first_token_came(router: Router) -> None:
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    reports.add([attempt()], stream=False)
    reports.add([attempt(BAD)], stream=False)
    await settled(router)
    assert [one.first_token_ms for one in router.heard] == [0, 0]


async def test_what_says_nothing_of_the_provider_is_not_told(router: Router) -> None:
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    refused = attempt(int(Reason.PROVIDER_REFUSED), status_code=400)
    somebodys_key = attempt(int(Reason.PROVIDER_RATE_LIMITED), status_code=429, provider_key_id="k")
    reports.add([refused], stream=True)
    reports.add([somebodys_key], stream=True)
    retried = attempt(BAD)
    reports.add([retried, retried], stream=True)
    await settled(router)
    assert len(router.heard) == 1, "a retry is no failure of its own"


async def test_a_providers_limit_speaks_against_it_as_other_faults_do(router: Router) -> None:
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    reports.add([attempt(int(Reason.PROVIDER_RATE_LIMITED), status_code=429)], stream=True)
    await settled(router)
    assert [(one.ok, one.provider_fault) for one in router.heard] == [(False, True)]


async def test_a_router_that_is_away_stops_nothing(router: Router) -> None:
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    router.away = True
    reports.add([attempt(BAD)], stream=True)
    await settled(router)
    router.away = False
    reports.add([attempt(BAD)], stream=True)
    await settled(router)
    assert len(router.heard) == 1


async def test_a_burst_is_told_before_it_fills_the_memory(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_reports, "MOST_WAITING", 10)
    reports: Any = OutcomeReports(router)  # type: ignore[arg-type]
    for _ in range(10):
        reports.add([attempt()], stream=True)
    await settled(router)
    assert len(router.heard) == 10
