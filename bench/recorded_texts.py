"""`python -m bench.recorded_texts [--json]`: what recording prompts and answers costs who answers a chat."""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from dac.audit.v1 import text_pb2
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import RequestRecord
from mesh.call import install_service_principals
from mesh.ids import uuid7
from services.gateway.chat.recorded_texts import EVERY, RecordedTexts

SIZES = 2_000, 32_000, 1_000_000
MOST_BYTES = 32 << 10
ROUNDS, TIMES = 7, 300


class Audit:
    """Takes everything at once."""

    async def KeepTexts(self, request: text_pb2.KeepTextsRequest, timeout: float) -> text_pb2.KeepTextsResponse:
        """Nothing is to be sent again."""
        return text_pb2.KeepTextsResponse()


def each_us(work: Callable[[], object], times: int = TIMES) -> float:
    """CPU microseconds of one call, the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - begun) / times * 1e6)
    return statistics.median(rounds)


def _looks(texts: RecordedTexts | None, org_id: str) -> None:
    """What a chat of an organisation that is not recorded does: as ChatRun has it."""
    own = texts
    if own is not None and not own.records(org_id):
        own = None
    for _ in range(3):
        if own is not None:
            raise AssertionError


async def measured() -> dict[str, Any]:
    """Microseconds of CPU a chat."""
    install_service_principals(lambda service: (Principal(), b""))
    org_id = uuid7()
    figures: dict[str, Any] = {
        "off_us": each_us(lambda: _looks(None, org_id), 100_000),
        "others_us": each_us(lambda: _looks(RECORDS_OTHERS, org_id), 100_000),
    }
    for size in SIZES:
        body = json.dumps({"messages": [{"role": "user", "content": "Where is the harbour? " * (size // 22)}]}).encode()
        answer = b"By the sea. " * 100
        rounds = []
        for _ in range(ROUNDS):
            texts = RecordedTexts(Audit(), (EVERY,), MOST_BYTES)  # type: ignore[arg-type]
            record = RequestRecord(org_id=org_id, request_id=uuid7())
            begun = time.process_time()
            for _ in range(TIMES):
                texts.take(record, body, answer, "")
            rounds.append((time.process_time() - begun) / TIMES * 1e6)
            await texts.drain(30)
        figures[f"take_{size}_us"] = statistics.median(rounds)
    return figures


RECORDS_OTHERS = RecordedTexts(Audit(), (uuid7(),), MOST_BYTES)  # type: ignore[arg-type]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    figures = asyncio.run(measured())
    if parser.parse_args().json:
        json.dump(figures, sys.stdout)
        return 0
    print(f"off                                  {figures['off_us']:8.3f} µs a chat")
    print(f"on, for other organisations          {figures['others_us']:8.3f}")
    for size in SIZES:
        print(f"on, a prompt of {size:9,} bytes     {figures[f'take_{size}_us']:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
