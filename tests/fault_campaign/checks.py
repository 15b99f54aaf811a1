"""What must hold for one case, and for all of them together."""

import json

from tests.fault_campaign import answers
from tests.fault_campaign.campaign import AT_ONCE, KEY, Campaign, Result
from tests.fault_campaign.cases import TOTAL_S, Case

SLACK_S = 1.0
INPUT_NANO, OUTPUT_NANO = 1000, 2000
TOLD_NANO = answers.INPUT_TOKENS * INPUT_NANO + answers.OUTPUT_TOKENS * OUTPUT_NANO
MOST_COUNTED_NANO = 200 * INPUT_NANO + 200 * OUTPUT_NANO
"""More than DAC may count for a prompt of a line and at most 24 words, whatever its estimate."""
MOST_ENDLESS_NANO = 10**10
"""Seconds of words without end are paid for."""


def check(case: Case, result: Result, origin: str) -> None:
    """One case: status, end, charge, time, and nothing of the provider's address or key."""
    shown = f"{result.status} {result.body[:300]!r} …{result.body[-300:]!r} {result.broken}"
    assert not result.hung, f"no end after {TOTAL_S * 3:g} s"
    assert not result.broken, shown
    assert result.took_s < TOTAL_S + SLACK_S, f"{result.took_s:.1f} s: {shown}"
    assert KEY not in result.body and origin not in result.body, shown
    assert KEY not in result.headers and origin not in result.headers, result.headers
    assert result.record is not None, f"there is no record: {shown}"
    assert KEY not in str(result.record) and origin not in str(result.record), result.record
    if case.ends == "gone":
        _check_departure(case, result)
    else:
        assert result.status in (case.status, case.or_status), shown
        _check_end(case, result, shown)
    _check_charge(case, result)


def _check_end(case: Case, result: Result, shown: str) -> None:
    outcome = result.record["outcome"]  # type: ignore[index]
    if case.ends == "whole":
        assert result.text == answers.ANSWER, shown
        assert outcome == "OUTCOME_OK", result.record
        assert not case.stream or result.has_good_end, shown
        assert not any("unreadable" in one for one in result.events), shown
        return
    assert outcome == "OUTCOME_FAILED", result.record
    assert not result.has_good_end, shown
    if result.status != 200:
        _check_error(case, json.loads(result.body))
        return
    _check_error(case, result.events[-1])
    assert answers.ANSWER.startswith(result.text) or case.name == "endless", shown


def _check_error(case: Case, told: dict[str, object]) -> None:
    """The wire's own form."""
    error = told.get("error")
    assert isinstance(error, dict) and error.get("message") and error.get("type"), told
    assert (told.get("type") == "error") is (case.wire == "messages"), told


def _check_departure(case: Case, result: Result) -> None:
    assert result.upstream_left_s is not None, "DAC did not leave the provider"
    assert result.upstream_left_s < 1.0, f"DAC left the provider {result.upstream_left_s:.2f} s after the caller"
    assert result.record["outcome"] == "OUTCOME_CLIENT_GONE", result.record  # type: ignore[index]
    if case.leaves_after:
        usage = result.record["attempts"][-1]["usage"]  # type: ignore[index]
        assert int(usage["output_tokens"]) > 0, result.record


def _check_charge(case: Case, result: Result) -> None:
    record = result.record
    assert record is not None
    cost = int(record["cost_nano_usd"])
    attempts = record["attempts"]
    assert attempts, record
    assert cost == sum(int(one["cost_nano_usd"]) for one in attempts), record
    if case.cost == "nothing":
        assert cost == 0, record
    elif case.cost == "told":
        assert cost == TOLD_NANO and attempts[-1]["usage_source"] == "USAGE_SOURCE_PROVIDER", record
    elif case.cost == "more":
        assert int(attempts[-1]["cost_nano_usd"]) == TOLD_NANO < cost, record
        assert attempts[-2]["usage_source"] == "USAGE_SOURCE_COUNTED", record
    else:
        most = MOST_ENDLESS_NANO if case.name == "endless" else MOST_COUNTED_NANO
        assert 0 < cost <= most, record
        if case.cost == "counted":
            # A rescue that brought nothing new has cost nothing.
            paid = [one["usage_source"] for one in attempts if int(one["cost_nano_usd"])]
            assert set(paid) == {"USAGE_SOURCE_COUNTED"}, record


def check_all(campaign: Campaign) -> None:
    """Nothing is left over, and nothing was written that should not be."""
    assert campaign.verdict.get("differences", []) == []
    assert int(campaign.verdict["open_reservations"]) == 0
    assert len(campaign.gauges) == 4 and not any(campaign.gauges.values()), campaign.gauges
    assert campaign.connections <= AT_ONCE, campaign.connections
    assert KEY not in campaign.log
    assert "Traceback" not in campaign.log and "never retrieved" not in campaign.log, campaign.log[-6000:]
    # Two bombs of 200 MiB and endless bodies were among the answers.
    assert campaign.peak_mb - campaign.before_mb < 200, (campaign.before_mb, campaign.peak_mb)
