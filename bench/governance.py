"""Proof that a measured DAC governed its requests: budget set before, records and a ledger that adds up after."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.systems import System

LIMIT_NANO_USD = 1_000_000_000_000


class NotGoverned(Exception):
    """The ledger or the records do not match the requests served: the figures of this run are not worth printing."""


@dataclass(frozen=True)
class Proof:
    """What the system itself says about the run."""

    ledger_rows: int
    upstream_requests: int
    differences: list[str]
    open_reservations: int
    records_on_first_page: int
    settled_s: float


def set_budget(system: System) -> str:
    """A monthly budget on the caller's organisation, so that every request is checked against a limit."""
    org_id = str(_field(system.get_json("/v1/caller"), "org_id"))
    level = {"kind": "KIND_ORG", "id": org_id}
    body = {"level": level, "window": "WINDOW_MONTH", "limit_nano_usd": str(LIMIT_NANO_USD)}
    system.get_json("/v1/budgets", method="PUT", body=body)
    return org_id


def prove(system: System, *, served: int, failed: int, upstream_requests: int, patience_s: float = 15.0) -> Proof:
    """Ledger rows = requests served = requests the mock saw, no differences, and records to read; or NotGoverned.

    Requests that failed may or may not have reached the model: they may stand in the ledger, but need not.
    """
    allowed = range(served, served + failed + 1)
    started = time.monotonic()
    while True:
        proof = _read(system, upstream_requests, time.monotonic() - started)
        settled = proof.ledger_rows >= served and proof.open_reservations == 0
        if settled or proof.settled_s > patience_s:
            break
        time.sleep(0.2)
    faults: list[str] = []
    if proof.ledger_rows not in allowed:
        faults.append(f"the ledger has {proof.ledger_rows} rows for {served} requests served")
    if proof.upstream_requests not in allowed:
        faults.append(f"the mock saw {proof.upstream_requests} requests for {served} served")
    if proof.differences:
        faults.append(f"the counters differ from the ledger: {proof.differences[:3]}")
    if proof.open_reservations:
        faults.append(f"{proof.open_reservations} reservations are still open")
    if not proof.records_on_first_page:
        faults.append("GET /v1/requests shows no record")
    if faults:
        raise NotGoverned(f"{system.name}: " + "; ".join(faults))
    return proof


def _read(system: System, upstream_requests: int, settled_s: float) -> Proof:
    verdict = system.get_json("/v1/budgets:verify")
    requests = _field(system.get_json("/v1/requests"), "requests")
    differences = verdict.get("differences", [])
    return Proof(
        ledger_rows=int(str(_field(verdict, "ledger_rows") or 0)),
        upstream_requests=upstream_requests,
        differences=[str(one) for one in differences] if isinstance(differences, list) else [str(differences)],
        open_reservations=int(str(_field(verdict, "open_reservations") or 0)),
        records_on_first_page=len(requests) if isinstance(requests, list) else 0,
        settled_s=settled_s,
    )


def _field(answer: dict[str, object], name: str) -> object:
    """A field under its proto name or its JSON name."""
    first, *rest = name.split("_")
    return answer.get(name, answer.get(first + "".join(word.capitalize() for word in rest)))
