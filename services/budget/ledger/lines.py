"""The ledger's lines: what a resolution writes, and which of them a correction is about."""

from __future__ import annotations

from collections.abc import Sequence

from services.budget import errors
from services.budget.ledger.operations import Adjust, Resolve
from services.budget.ledger.rows import Entry, Reservation, State
from services.budget.prices.money import Charge, tokens_of

NO_TOKENS = (0, 0, 0, 0, 0)


def entries_of(op: Resolve, held: Reservation, charges: tuple[Charge, ...]) -> list[Entry]:
    """The ledger's lines of a resolution."""
    about = op.about
    org_id, reservation_id, request_id = held.org_id, held.reservation_id, held.request_id
    operation, path, tags = about.operation, about.path, about.tags

    def note(kind: str, amount: int) -> Entry:
        where = (held.price_version, request_id, held.counters, "", "", operation, path, tags, NO_TOKENS)
        return Entry(org_id, reservation_id, "", kind, amount, *where)

    if op.to is State.COMMITTED and charges:
        made = [
            Entry(
                org_id,
                reservation_id,
                # The number keeps two attempts apart whose caller gave them one id.
                f"{number}:{attempt.attempt_id}",
                "commit",
                charged.cost_nano_usd,
                charged.price_version,
                request_id,
                held.counters_of(attempt.model),
                attempt.provider,
                attempt.model,
                operation,
                path,
                tags,
                tokens_of(attempt.usage),
            )
            for number, (attempt, charged) in enumerate(zip(op.attempts, charges, strict=True))
        ]
    else:
        kind = {State.COMMITTED: "commit", State.RELEASED: "release"}.get(op.to, "indeterminate")
        made = [note(kind, held.cost_nano_usd)]
    if held.cost_nano_usd > held.amount_nano_usd:
        made.append(note("overrun", held.cost_nano_usd - held.amount_nano_usd))
    return made


def charged_alike(one: Entry, other: Entry) -> bool:
    """Whether two lines are charges of the same model to the same counters."""
    return (one.provider, one.model, one.counters) == (other.provider, other.model, other.counters)


def line_to_adjust(lines: Sequence[Entry], op: Adjust) -> Entry:
    """The line that a correction is about. Raises INVALID_REQUEST when that is not clear."""
    found = [line for line in lines if line.kind in ("commit", "indeterminate")]
    if op.attempt_id:
        found = [line for line in found if op.attempt_id in (line.attempt_id, line.attempt_id.partition(":")[2])]
    if len(found) != 1:
        attempts = ", ".join(line.attempt_id.partition(":")[2] for line in lines if line.kind == "commit")
        raise errors.invalid("attempt_id", f"say which of the request's attempts is meant: {attempts or 'it has none'}")
    return found[0]
