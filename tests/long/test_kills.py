"""A campaign of kill -9 under load: nothing acknowledged is lost, nothing is charged twice, DAC comes back."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import time

import httpx
import psutil
import pytest

from tests.edge.conftest import Dac
from tests.long.traffic import Traffic
from tests.long.truth import Truth

READY_S = 5.0
HEAL_S = 30.0
COMMIT_S = 1.5
"""The charge is stored after the last byte: how long before a kill an answer may be acknowledged but not charged."""
SERVICES = ("budget", "audit", "memory", "provider", "router", "gateway")


@dataclasses.dataclass
class Round:
    """One kill and how DAC came back."""

    number: int
    victim: str
    killed_s: float = 0.0
    back_s: float = 0.0
    gateway_survived: bool = False
    acknowledged: int = 0
    refused: int = 0
    open_acknowledged: int = 0
    """Acknowledged, and not charged yet when DAC was back: the sweeper charges their bound."""
    hits_without_record: int = 0

    def __str__(self) -> str:
        return (
            f"round {self.number}: kill -9 {self.victim}; back in {self.back_s:.2f} s; {self.acknowledged} "
            f"acknowledged, {self.refused} refused, {self.open_acknowledged} acknowledged before their charge was "
            f"stored, {self.hits_without_record} cache hits without a record"
        )


class Campaign:
    """Rounds on one installation."""

    def __init__(self, dac: Dac, seed: int) -> None:
        self.dac, self.seed, self.truth = dac, seed, Truth(dac.data_dir)
        self.dice = random.Random(seed)
        self.traffic: list[Traffic] = []
        self.lost_hits: set[str] = set()

    def play(self, number: int, victim: str) -> None:
        """Load, kill, return, check."""
        played = Round(number, victim)
        moment_s = self.dice.uniform(0.5, 2.5)
        with Traffic(self.dac, self.seed, f"r{number}") as traffic:
            self.traffic.append(traffic)
            time.sleep(moment_s)  # The random moment itself.
            if victim in SERVICES:
                self.kill_service(played)
            elif victim == "postmaster":
                self.kill_postmaster(played, traffic)
            else:
                self.kill_dac(played, traffic)
            traffic.stop()
        assert not traffic.wrong, f"DAC_SEED={self.seed} {victim}: {traffic.wrong[:5]}"
        try:
            self.check(played, traffic)
        finally:
            print(played)

    def kill_dac(self, played: Round, traffic: Traffic) -> None:
        """The whole of it; then a new start."""
        assert self.dac.process is not None
        played.killed_s = time.monotonic()
        self.dac.process.kill()
        self.dac.process.wait()
        traffic.stop()
        self.start(played)

    def start(self, played: Round) -> None:
        """A new start, again while the dying split mesh still has the ports: as a supervisor would."""
        began, left = time.monotonic(), 10
        while True:
            try:
                self.dac.start()
                break
            except AssertionError as error:
                left -= 1
                if not self.dac.arguments or not left or "cannot be used" not in str(error):
                    raise
        played.back_s = time.monotonic() - began
        if not self.dac.arguments:
            assert played.back_s < READY_S, f"ready after {played.back_s:.1f} s"

    def kill_postmaster(self, played: Round, traffic: Traffic) -> None:
        """The database: `dac up` starts it again by itself, and everything goes on."""
        pid = self.truth.postmaster()
        played.killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + HEAL_S
        while self.truth.postmaster() in (0, pid) or not self.serves():
            assert time.monotonic() < end, "the embedded PostgreSQL was not started again"
            time.sleep(0.05)
        played.back_s, played.gateway_survived = time.monotonic() - played.killed_s, True

    def kill_service(self, played: Round) -> None:
        """One process of the mesh: `dac up` starts it again, the load goes on."""
        state = self.services()
        pid = next(int(str(row["pid"])) for row in state if row["name"] == played.victim)
        played.killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + HEAL_S
        while True:
            rows = {str(row["name"]): row for row in self.services()}
            again = rows[played.victim]
            if again["state"] == "serving" and again["pid"] != pid and self.serves():
                break
            assert time.monotonic() < end, f"{played.victim} did not heal in {HEAL_S} s: {rows}\n{self.dac.log()}"
            time.sleep(0.05)
        played.back_s = time.monotonic() - played.killed_s
        played.gateway_survived = played.victim != "gateway"

    def services(self) -> list[dict[str, object]]:
        """What `dac up` says it runs."""
        return json.loads((self.dac.data_dir / "state.json").read_text())["services"]  # type: ignore[no-any-return]

    def serves(self) -> bool:
        """Whether it is healthy and a chat in a thread with the cache on is answered."""
        try:
            health = self.dac.get("/health")
            chat = self.dac.chat(thread_id="probe", enable_cache=True)
        except httpx.HTTPError:
            return False
        return health.status_code == 200 and health.json()["status"] == "healthy" and chat.status_code == 200

    def check(self, played: Round, traffic: Traffic) -> None:
        """Everything that must hold after a round."""
        acknowledged = {one.request_id: one for one in traffic.acknowledged}
        assert len(acknowledged) == len(traffic.acknowledged) > 0
        played.acknowledged, played.refused = len(acknowledged), traffic.refused
        self.check_threads(traffic)
        charged = {name for name, one in acknowledged.items() if not one.from_cache}
        if played.gateway_survived:
            left = self.truth.wait_settled(charged, 20)
            assert not left, f"the gateway lived on and left acknowledged requests uncharged: {left}"
        self.check_verify()
        money = self.truth.money()
        missing = charged - money.keys()
        assert not missing, f"acknowledged without any reservation: {missing}"
        late = {name for name in charged if money[name].state == 0}
        played.open_acknowledged = len(late)
        early = [name for name in late if acknowledged[name].at_s < played.killed_s - COMMIT_S]
        assert not early, f"acknowledged more than {COMMIT_S} s before the kill and not charged: {early}"
        released = {name for name in charged if money[name].state == 2}
        assert not released, f"acknowledged and given back: {released}"
        self.truth.wait_swept()
        self.check_verify(open_reservations=0)
        self.check_money(charged, late, traffic)
        self.check_records(played, traffic)

    def check_verify(self, **also: int) -> None:
        """Counters, ledger and reservations agree, by DAC's own account."""
        verified = self.dac.get("/v1/budgets:verify").json()
        assert verified["differences"] == [], verified
        for name, wanted in also.items():
            assert int(verified[name]) == wanted, verified

    def check_threads(self, traffic: Traffic) -> None:
        """Each acknowledged turn stands in its thread once, question and answer; also those of earlier rounds."""
        for thread_id, turns in traffic.threads().items():
            held: dict[tuple[str, str], int] = {}
            token = ""
            while True:
                answer = self.dac.get(f"/api/threads/{thread_id}/messages?page_size=200&page_token={token}")
                assert answer.status_code == 200, answer.text
                page = answer.json()
                for message in page["messages"]:
                    key = (message["request_id"], message["role"])
                    held[key] = held.get(key, 0) + 1
                token = page["next_page_token"]
                if not token:
                    break
            for turn in turns:
                for role in ("user", "assistant"):
                    assert held.get((turn.request_id, role)) == 1, f"{turn.kind}: {role} of {turn.request_id}: {held}"
        stored = self.truth.messages()
        for one in (one for run in self.traffic for one in run.acknowledged if one.thread_id):
            assert stored[one.request_id, "user"] == stored[one.request_id, "assistant"] == 1, one.request_id

    def check_money(self, charged: set[str], late: set[str], traffic: Traffic) -> None:
        """One charge for each acknowledged request: what its answer said, or its bound if the end was not stored."""
        money, records = self.truth.money(), self.truth.records()
        told = {one.request_id: one.cost_usd for one in traffic.acknowledged if one.cost_usd}
        for name in charged:
            kind = "indeterminate" if name in late else "commit"
            assert money[name].kinds == (kind,), f"{name}: {money[name]}"
            assert money[name].charged > 0, f"{name} was free: {money[name]}"
            if kind == "commit" and name in told:
                assert money[name].charged == round(float(told[name]) * 1e9), f"{name}: {told[name]} {money[name]}"
        ledger_rows = self.truth.ask("SELECT count(*) FROM budget.ledger WHERE kind <> 'overrun'")[0][0]
        assert ledger_rows == len(money), f"{ledger_rows} ledger rows for {len(money)} requests"
        for name, cost in records.items():
            if name in money:
                assert cost == money[name].charged, f"{name}: the record says {cost}, the ledger {money[name]}"

    def check_records(self, played: Round, traffic: Traffic) -> None:
        """Each acknowledged request has its record, by the API and in the table."""
        end = time.monotonic() + 20
        wanted = {one.request_id for run in self.traffic for one in run.acknowledged} - self.lost_hits
        hits = {one.request_id: one for one in traffic.acknowledged if one.from_cache}
        # A hit reserves nothing: while its record is on its way a kill may take it along.
        doubtful = {name for name, one in hits.items() if one.at_s > played.killed_s - COMMIT_S}
        if played.gateway_survived:
            doubtful = set()
        while (wanted - doubtful) - self.truth.records().keys() and time.monotonic() < end:
            time.sleep(0.1)
        records = self.truth.records()
        missing = wanted - records.keys()
        assert not missing - doubtful, f"acknowledged without a record: {missing - doubtful}"
        self.lost_hits |= missing
        played.hits_without_record = len(missing)
        with httpx.Client(base_url=self.dac.url, headers=self.dac.headers, timeout=30) as client:
            for one in traffic.acknowledged:
                if one.request_id in missing:
                    continue
                answer = client.get(f"/v1/requests/{one.request_id}")
                assert answer.status_code == 200, f"{one.kind} {one.request_id}: {answer.text}"
                record = answer.json()["request"]
                assert record["request_id"] == one.request_id
                assert int(record["cost_nano_usd"]) == records[one.request_id]
                assert (int(record["cost_nano_usd"]) > 0) is not one.from_cache, record


def victims(seed: int, rounds: int, choices: tuple[str, ...]) -> list[str]:
    """`rounds` of them in random order, each as often as the others."""
    dice = random.Random(f"{seed}/victims")
    order: list[str] = []
    while len(order) < rounds:
        order += dice.sample(choices, len(choices))
    return order[:rounds]


def left_over(dac: Dac) -> list[str]:
    """Processes that still work on the data folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(dac.data_dir) in line:
            found.append(line)
    return found


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arguments", [(), ("--split",)], ids=["one_process", "split"])
def test_kill_9_under_load_loses_nothing_acknowledged(start_dac, arguments, kills, seed):
    dac = start_dac(*arguments)
    campaign = Campaign(dac, seed)
    choices = ("dac", "postmaster", *(SERVICES if arguments else ()))
    for number, victim in enumerate(victims(seed, kills, choices), 1):
        try:
            campaign.play(number, victim)
        except (AssertionError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
            code = dac.process.poll() if dac.process else "stopped"
            raise AssertionError(
                f"DAC_SEED={seed} round {number}, {victim}: {type(error).__name__}: {error} (exit code of dac up: "
                f"{code})\n{dac.log()[-2000:]}"
            ) from error
    assert dac.stop() == 0
    assert not left_over(dac)
