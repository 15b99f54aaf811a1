"""`python -m bench.sealing [--json]`: what sealing text at rest costs, alone and in a turn of a thread.

The second part runs memory on an embedded PostgreSQL, once with the switch off and once with it on, through its own
contract; the two take turns, so that a busy machine is busy for both.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dac.memory.v1 import conversation_pb2, conversation_pb2_grpc
from mesh.call import serving
from mesh.ids import uuid7
from mesh.testing import TestProcess, mesh_in_process
from services.memory.sealing.sealing import SealingKeys

SIZES = 200, 2_000, 16_000
WORDS = "the harbour master asked for another lamp because nights in november are long and the old one is dim "
PAGE = 100


def text_of(size: int) -> str:
    """A text of so many bytes."""
    return (WORDS * (size // len(WORDS) + 1))[:size]


def each_us(work: Callable[[], object], times: int) -> float:
    """CPU microseconds of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - begun) / times * 1e6)
    return min(rounds)


def alone() -> dict[str, Any]:
    """Sealing, opening and numbering without a database."""
    key_id = uuid7()
    keys = SealingKeys(uuid7(), {key_id: b"k" * 32}, key_id, terms=b"t" * 32)
    plain = SealingKeys(uuid7(), {}, "", terms=b"")
    found: dict[str, Any] = {}
    for size in SIZES:
        fields = {"text": text_of(size), "openai_json": ""}
        sealed = keys.seal("messages/1", fields) or b""
        found[f"{size}_bytes"] = {
            "seal_us": each_us(functools.partial(keys.seal, "messages/1", fields), 2000),
            "open_us": each_us(functools.partial(keys.open, "messages/1", sealed), 2000),
            "stored_bytes": len(sealed),
        }
    found["term_us"] = {
        "keyed": each_us(lambda: keys.term_id("harbour"), 20_000),
        "unkeyed": each_us(lambda: plain.term_id("harbour"), 20_000),
    }
    return found


class House:
    """A memory with the switch on or off, and one organisation's calls to it."""

    def __init__(self, process: TestProcess) -> None:
        self._caller = process.caller("chat", "read")
        self._stub = conversation_pb2_grpc.ConversationServiceStub(process.channel_to("memory"))

    async def turn(self, thread_id: str, size: int) -> None:
        """A question and its answer."""
        request_id, text = uuid7(), text_of(size)
        asked = [conversation_pb2.Message(role="user", text=text)]
        answered = [conversation_pb2.Message(role="assistant", text=text)]
        with serving(self._caller):
            await self._stub.OpenTurn(
                conversation_pb2.OpenTurnRequest(
                    thread_id=thread_id, request_id=request_id, messages=asked, max_tokens=8000
                )
            )
            await self._stub.AppendMessages(
                conversation_pb2.AppendMessagesRequest(thread_id=thread_id, request_id=request_id, messages=answered)
            )

    async def page(self, thread_id: str) -> None:
        """A page of a hundred messages."""
        with serving(self._caller):
            page = await self._stub.ListMessages(
                conversation_pb2.ListMessagesRequest(thread_id=thread_id, page_size=PAGE)
            )
        assert len(page.messages) == PAGE


async def both(folder: pathlib.Path, turns: int) -> dict[str, Any]:
    """p50 of turns and pages, plain beside sealed."""
    seconds: dict[str, dict[str, list[float]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        houses: dict[str, House] = {}
        for name, switch in (("plain", "false"), ("sealed", "true")):
            (place := folder / name).mkdir()
            config = f"memory: {{encrypt_text: {switch}}}\n"
            process = await stack.enter_async_context(mesh_in_process(place, config=config, targets=("memory",)))
            houses[name], seconds[name] = House(process), {"turn_ms": [], "page_ms": []}

        async def timed(name: str, what: str, work: Awaitable[None]) -> None:
            begun = time.perf_counter()
            await work
            seconds[name][what].append((time.perf_counter() - begun) * 1000)

        for number in range(turns):
            for name, house in houses.items():
                # Threads as long as people's are: 50 turns.
                await timed(name, "turn_ms", house.turn(f"t{number // 50}", SIZES[number % 2]))
        for _ in range(max(20, turns // 5)):
            for name, house in houses.items():
                await timed(name, "page_ms", house.page("t0"))
    return {
        name: {what: round(statistics.median(values), 3) for what, values in found.items()}
        for name, found in seconds.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.sealing", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    parser.add_argument("--turns", type=int, default=500, help="turns of threads, at least 50 (%(default)s)")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"alone": alone()}
    with tempfile.TemporaryDirectory() as folder:
        found["memory"] = asyncio.run(both(pathlib.Path(folder), max(50, options.turns)))
    if options.json:
        print(json.dumps(found))
        return 0
    for size in SIZES:
        one = found["alone"][f"{size}_bytes"]
        print(
            f"{size:6} bytes: seal {one['seal_us']:.1f} us, open {one['open_us']:.1f} us, {one['stored_bytes']} stored"
        )
    terms = found["alone"]["term_us"]
    print(f"a term's number: {terms['keyed']:.2f} us keyed, {terms['unkeyed']:.2f} us not")
    for name, one in found["memory"].items():
        print(f"{name:6}: a turn {one['turn_ms']:.2f} ms, a page of {PAGE} messages {one['page_ms']:.2f} ms (p50)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
