"""A prompt that was too long for one model goes on only to models with a larger window."""

import dataclasses

from mesh.errors import Reason
from services.provider.calling.events import Finish
from tests.integration.provider.conftest import Bench


async def asked(bench: Bench, *windows: tuple[str, int]) -> list[str]:
    ask = bench.ask(*(name for name, _ in windows))
    candidates = [
        dataclasses.replace(one, context_tokens=window)
        for one, (_, window) in zip(ask.candidates, windows, strict=True)
    ]
    events = [event async for event in bench.generator.run(dataclasses.replace(ask, candidates=candidates))]
    if not isinstance(events[-1], Finish):
        assert events[-1].reason is Reason.CONTEXT_TOO_LONG  # type: ignore[union-attr]
    return [attempt.model.removeprefix("dac/") for attempt in events[-1].attempts]  # type: ignore[union-attr]


async def test_only_larger_windows_are_asked(bench: Bench) -> None:
    long = "fault:context_length"
    assert await asked(bench, (long, 8000), ("small", 4000), ("same", 8000), ("large", 9000)) == [long, "large"]
    assert await asked(bench, (long, 8000), ("small", 4000)) == [long]


async def test_an_unknown_window_is_no_reason_to_skip(bench: Bench) -> None:
    long = "fault:context_length"
    assert await asked(bench, (long, 0), ("small", 4000)) == [long, "small"]
    assert await asked(bench, (long, 8000), ("unknown", 0)) == [long, "unknown"]


async def test_other_faults_go_on_to_smaller_windows(bench: Bench) -> None:
    assert await asked(bench, ("fault:404", 8000), ("small", 4000)) == ["fault:404", "small"]
