"""kill -9 of memory's process and of PostgreSQL under turns of threads, with text at rest sealed: no acknowledged turn
is lost, and none is there twice.
"""

import collections
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from tests.edge.conftest import Dac
from tests.long.test_kills import HEAL_S, Campaign

VICTIMS = ("memory", "postmaster")
THREADS = 3
WRITERS = 3
SAVED_LATER_S = 30
"""Tries to save are at most 5 s apart."""


class Turns:
    """Writers that share a few threads; each says every text once, and says it again only when it was refused."""

    def __init__(self, dac: Dac, seed: int) -> None:
        self._dac, self._stop = dac, threading.Event()
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Thread and request of each text whose turn was answered."""
        self.later: set[str] = set()
        """Those of them of which the answer said that memory was not there, and that they are saved when it is."""
        self.refused = 0
        self.wrong: list[str] = []
        self._writers = [
            threading.Thread(target=self._write, args=(number, random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(WRITERS)
        ]

    def __enter__(self) -> "Turns":
        for one in self._writers:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._writers:
            one.join(60)

    def _write(self, number: int, dice: random.Random) -> None:
        said = 0
        with httpx.Client(base_url=self._dac.url, headers=self._dac.headers, timeout=30) as client:
            while not self._stop.is_set():
                said += 1
                text, thread_id = f"writer {number} says {said}", f"t{dice.randrange(THREADS)}"
                body = {
                    "model": "mock/gpt-4o-mini",
                    "thread_id": thread_id,
                    "max_tokens": 4,
                    "messages": [{"role": "user", "content": text}],
                }
                try:
                    answer = client.post("/v1/chat/completions", json=body)
                except httpx.HTTPError:
                    self.refused += 1
                    continue
                if answer.status_code == 200:
                    self.acknowledged[text] = (thread_id, answer.headers["x-dac-request-id"])
                    if answer.headers.get("x-dac-thread-saved") == "later":
                        self.later.add(text)
                elif answer.status_code < 500:
                    self.wrong.append(f"{answer.status_code} {answer.text[:300]}")
                    return
                else:
                    self.refused += 1
                    self._stop.wait(0.05)


Saved = collections.Counter[tuple[str, str]]


def read(dac: Dac, path: str) -> httpx.Response:
    """A page; a connection to the database that died may still be found, and then says: try again."""
    end = time.monotonic() + HEAL_S
    while (page := dac.get(path)).status_code == 503:
        assert time.monotonic() < end, page.text
        time.sleep(0.1)
    assert page.status_code == 200, page.text
    return page


def saved_turns(dac: Dac) -> tuple[Saved, Saved]:
    """How often each text and each answer's request stands in each thread."""
    texts, answers = Saved(), Saved()
    for number in range(THREADS):
        token = ""
        while True:
            query = f"page_size=200&all=true&page_token={token}"
            page = read(dac, f"/api/threads/t{number}/messages?{query}")
            for one in page.json()["messages"]:
                if one["role"] == "user":
                    texts[f"t{number}", one["text"]] += 1
                else:
                    answers[f"t{number}", one["request_id"]] += 1
            token = page.json()["next_page_token"]
            if not token:
                break
    return texts, answers


def check(dac: Dac, turns: Turns) -> int:
    """Every acknowledged text once, with one answer, in its thread; no text twice; how many messages there are.

    What was acknowledged as saved is there at once; what was to be saved later, soon after memory is back.
    """
    texts, answers = saved_turns(dac)
    late = {text: turns.acknowledged[text] for text in turns.later}
    end = time.monotonic() + SAVED_LATER_S
    while any(not (texts[thread, text] and answers[thread, request]) for text, (thread, request) in late.items()):
        assert time.monotonic() < end, f"not saved {SAVED_LATER_S} s later, though it was said of {sorted(late)[:5]}"
        time.sleep(0.2)
        texts, answers = saved_turns(dac)
    twice = [key for key, count in (*texts.items(), *answers.items()) if count > 1]
    assert not twice, f"saved twice: {twice[:5]}"
    said = {text for _, text in texts}
    assert len(said) == len(texts), "a text stands in two threads"
    for text, (thread_id, request_id) in turns.acknowledged.items():
        assert texts[thread_id, text] == 1, f"lost: {text!r} of {thread_id}"
        assert answers[thread_id, request_id] == 1, f"the answer to {text!r} of {thread_id} is lost"
    return sum(texts.values()) + sum(answers.values())


class Killer:
    """kill -9 of a victim, and the wait until it serves again."""

    def __init__(self, dac: Dac, seed: int) -> None:
        self._dac, self._campaign = dac, Campaign(dac, seed)

    def pid(self, victim: str) -> int:
        """Of the process that is the victim now; 0 = there is none."""
        if victim == "postmaster":
            return self._campaign.truth.postmaster()
        row = next(row for row in self._campaign.services() if row["name"] == victim)
        return int(str(row["pid"])) if row["state"] == "serving" else 0

    def kill(self, victim: str) -> int:
        """At once; which process it was."""
        pid = self.pid(victim)
        os.kill(pid, signal.SIGKILL)
        return pid

    def until_back(self, killed: dict[str, int]) -> float:
        """Until all of them run anew and a turn is answered; how long that took, in seconds."""
        began = time.monotonic()
        while any(self.pid(victim) in (0, pid) for victim, pid in killed.items()) or not self._campaign.serves():
            assert time.monotonic() - began < 2 * HEAL_S, f"{killed} did not heal\n{self._dac.log()}"
            time.sleep(0.05)
        return time.monotonic() - began


def campaign(dac: Dac, seed: int, kills: int) -> None:
    """Kills under load, then looks through everything.

    Two at a time: the second victim dies while the first one is gone, or on its way back.
    """
    killer, dice = Killer(dac, seed), random.Random(seed)
    with Turns(dac, seed) as turns:
        for number in range(kills // 2):
            before = len(turns.acknowledged)
            time.sleep(dice.uniform(0.2, 0.8))  # The random moment itself.
            first, second = dice.sample(VICTIMS, 2)
            killed = {first: killer.kill(first)}
            apart_s = dice.uniform(0.0, 2.0)
            time.sleep(apart_s)
            killed[second] = killer.kill(second)
            back_s = killer.until_back(killed)
            assert not turns.wrong, turns.wrong
            print(
                f"round {number}: kill -9 {first}, {apart_s:.1f} s later {second}; back in {back_s:.1f} s;"
                f" {len(turns.acknowledged) - before} acknowledged, {turns.refused} refused so far",
                flush=True,
            )
    assert not turns.wrong, turns.wrong
    assert len(turns.acknowledged) > kills
    messages = check(dac, turns)
    print(
        f"{kills} kills: {len(turns.acknowledged)} turns acknowledged, {len(turns.later)} of them saved later,"
        f" {turns.refused} refused, {messages} messages"
    )
    status = dac.get("/v1/memory/seal-status").json()
    assert status["encrypt_text"] and all(one["plain_rows"] == "0" for one in status["tables"]), status


@pytest.fixture
def sealed_dac(start_dac: Callable[..., Dac], monkeypatch: pytest.MonkeyPatch) -> Dac:
    """Every service in a process of its own, text sealed."""
    monkeypatch.setenv("DAC_MEMORY_ENCRYPT_TEXT", "true")
    return start_dac("--split")


def test_a_few_kills_lose_no_turn(sealed_dac: Dac, seed: int) -> None:
    campaign(sealed_dac, seed, 2)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sixty_kills_lose_no_turn(sealed_dac: Dac, seed: int) -> None:
    campaign(sealed_dac, seed, int(os.environ.get("DAC_KILLS", "60")))
