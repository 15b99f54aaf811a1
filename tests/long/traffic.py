"""Mixed chats from several threads: plain, streamed, in threads, cached, and clients that leave early."""

import contextlib
import dataclasses
import random
import threading
import time

import httpx

from tests.edge.conftest import Dac

KINDS = ("plain", "stream", "thread", "thread_stream", "cache", "cache_stream", "cache_thread", "leave", "impatient")
FAST, SLOW = "mock/gpt-4o-mini", "second/small"
"""SLOW is to be scripted with a delay between tokens, so that there is a middle to leave in."""
DONE = "data: [DONE]\n\n"


@dataclasses.dataclass(frozen=True)
class Acknowledged:
    """A chat whose client has the whole answer."""

    request_id: str
    kind: str
    thread_id: str
    text: str
    """The whole body."""
    cost_usd: str
    """What the answer said it costs; empty for a stream."""
    from_cache: bool
    at_s: float
    """time.monotonic() when the last byte was there."""


class Traffic:
    """`with Traffic(dac, seed, "r1") as traffic:` runs clients until the end of the block."""

    def __init__(self, dac: Dac, seed: int, label: str, *, clients: int = 8) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.begun: set[str] = set()
        """Request ids of every answer whose headers arrived with 200, also of those not read to the end."""
        self.wrong: list[str] = []
        """Answers that said they were whole and were not."""
        self.refused = 0
        self._dac, self._label, self._stop = dac, label, threading.Event()
        self._clients = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}/{label}/{number}"), number), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> "Traffic":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Lets running chats end, begins no more."""
        self._stop.set()
        for client in self._clients:
            client.join(60)
            assert not client.is_alive(), "a chat neither ended nor failed within 60 s"

    def threads(self) -> dict[str, list[Acknowledged]]:
        """Acknowledged chats by thread."""
        found: dict[str, list[Acknowledged]] = {}
        for one in self.acknowledged:
            if one.thread_id:
                found.setdefault(one.thread_id, []).append(one)
        return found

    def _run(self, dice: random.Random, number: int) -> None:
        with httpx.Client(base_url=self._dac.url, headers=self._dac.headers, timeout=40) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                try:
                    self._chat(client, dice, f"{number}-{turn}")
                except httpx.HTTPError:
                    self._stop.wait(0.02)  # Nobody listens: not a busy loop.

    def _chat(self, client: httpx.Client, dice: random.Random, turn: str) -> None:
        kind = dice.choice(KINDS)
        body: dict[str, object] = {"model": FAST if dice.random() < 0.8 else SLOW, "max_tokens": 100}
        text = f"{self._label} {turn}"
        if "cache" in kind:
            body["enable_cache"], text = True, f"{self._label} question {dice.randrange(4)}"
        if "thread" in kind:
            body["thread_id"] = f"{self._label}-{dice.randrange(3)}-{kind}"
        body["stream"] = "stream" in kind or kind == "leave"
        body["messages"] = [{"role": "user", "content": text}]
        if kind in ("leave", "impatient"):
            body["model"] = SLOW
        if kind == "impatient":
            with contextlib.suppress(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(5, read=dice.uniform(0.01, 0.3)))
            return
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                self.refused += 1
                self._stop.wait(0.02)
                return
            self.begun.add(answer.headers["x-dac-request-id"])
            if kind == "leave":
                most, seen = dice.randrange(1, 6000), 0
                for piece in answer.iter_raw():
                    seen += len(piece)
                    if seen >= most:
                        return
                return
            self._note(answer, kind, str(body.get("thread_id", "")), bool(body["stream"]))

    def _note(self, answer: httpx.Response, kind: str, thread_id: str, stream: bool) -> None:
        answer.read()
        if stream and not answer.text.endswith(DONE):
            if '"error"' not in answer.text:
                self.wrong.append(f"{kind}: ended without [DONE] or an error: …{answer.text[-300:]!r}")
            return
        if "autumn" not in answer.text:
            self.wrong.append(f"{kind}: the answer is not whole: {answer.text[-300:]!r}")
        self.acknowledged.append(
            Acknowledged(
                answer.headers["x-dac-request-id"],
                kind,
                thread_id,
                answer.text,
                answer.headers.get("x-dac-cost-usd", ""),
                answer.headers["x-dac-route"].startswith("cache:"),
                time.monotonic(),
            )
        )
