"""Alert rules: what pages somebody, what makes a ticket, and where it says what to do."""

import dataclasses
from typing import Any

from mesh.boards.promql import BAD_CODE, bad_chats, chats, increase, most, quantile, rate, series, share, total
from mesh.envoy.routes import CANARY, GATEWAY_GRPC, GATEWAY_HTTP

RUNBOOK = "docs/alerts.md"
OBJECTIVE = 0.995
"""Of all chats, so many are to be answered."""
ALLOWED = round(1 - OBJECTIVE, 6)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
FIRST_TOKEN_S = 5.0
PROVIDER_FAULT = 'outcome=~"provider_failed|provider_rate_limited|provider_timeout|provider_cut|provider_busy"'
OTHER_PAST = 'outcome=~"set_back|forked"'
UNCOSIGNED_S = 3600
LOST, EXPIRED = 'outcome="lost"', ('operation="expire"', 'outcome="ok"')
STABLE_CLUSTERS = f'envoy_cluster_name=~"{GATEWAY_HTTP}|{GATEWAY_GRPC}"'
CANARY_CLUSTERS = f'envoy_cluster_name=~"{GATEWAY_HTTP}{CANARY}|{GATEWAY_GRPC}{CANARY}"'


@dataclasses.dataclass(frozen=True)
class Alert:
    """One alert."""

    name: str
    expression: str
    lasting: str
    """How long it must hold."""
    severity: str
    """critical: somebody gets up; warning: somebody looks within a day."""
    summary: str
    description: str
    """What to do first; the section in docs/alerts.md says more."""

    @property
    def runbook(self) -> str:
        """Its section."""
        return f"{RUNBOOK}#{self.name.lower()}"

    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": self.runbook,
            },
        }


def error_ratio(window: str) -> str:
    """The recorded share of chats that failed."""
    return f"dac:chat_error_ratio:rate{window}"


def burning(factor: float, long: str, short: str) -> str:
    """Whether the error budget burns `factor` times too fast, over a long window and still now."""
    limit = f"{factor * ALLOWED:g}"
    return f"({error_ratio(long)} > {limit} and {error_ratio(short)} > {limit})"


def recordings() -> list[dict[str, str]]:
    """The error ratio over every window the burn rates need."""
    return [{"record": error_ratio(window), "expr": share(bad_chats(window), chats(window))} for window in WINDOWS]


def _availability() -> list[Alert]:
    return [
        Alert(
            "DacErrorBudgetBurnFast",
            burning(14.4, "1h", "5m") + " or " + burning(6, "6h", "30m"),
            "2m",
            "critical",
            "{{ $value | humanizePercentage }} of chats fail",
            "At this rate the month's error budget (0.5 %) is gone within days. Look at the board Overview, Failures "
            "told to callers, for the reason; then at the alerts that fire beside this one.",
        ),
        Alert(
            "DacErrorBudgetBurnSlow",
            burning(3, "1d", "2h") + " or " + burning(1, "3d", "6h"),
            "15m",
            "warning",
            "{{ $value | humanizePercentage }} of chats have failed for hours",
            "The month's error budget (0.5 %) will not last. Look at the board Overview, Chats without a good answer, "
            "for the commonest reason.",
        ),
        Alert(
            "DacFirstTokenSlow",
            f"{quantile(0.95, 'gen_ai_server_time_to_first_token_seconds', window='10m')} > {FIRST_TOKEN_S:g}",
            "10m",
            "warning",
            "p95 of the first token is {{ $value | humanizeDuration }}",
            "Look at the board Models, p95 first token by model: one model means its provider, all of them mean DAC or "
            "its database.",
        ),
        Alert(
            "DacAbsent",
            "absent(dac_build_info)",
            "10m",
            "critical",
            "no DAC process is scraped",
            "Either every process is down, or Prometheus cannot reach their probe port (9464). Without figures no "
            "other alert can fire.",
        ),
        Alert(
            "DacRestarting",
            "changes(process_start_time_seconds[30m]) > 2 and on (job, instance) dac_build_info",
            "0m",
            "critical",
            "{{ $labels.instance }} has started {{ $value }} more times in 30 minutes",
            "Read the last lines of its log before the end; out of memory leaves none, so look at the exit code, too.",
        ),
    ]


def _providers() -> list[Alert]:
    attempts = total(rate("provider_attempts_total", window="10m"), "provider")
    faults = total(rate("provider_attempts_total", PROVIDER_FAULT, window="10m"), "provider")
    enough = f"{total(increase('provider_attempts_total', window='10m'), 'provider')} >= 10"
    return [
        Alert(
            "DacProviderFailing",
            f"{share(faults, attempts)} > 0.5 and {enough}",
            "5m",
            "warning",
            "{{ $labels.provider }} fails {{ $value | humanizePercentage }} of its calls",
            "Chats go on to other models where they may. Look at the board Models, Attempts, for the reason, at the "
            "provider's status page, and at its key's account.",
        ),
        Alert(
            "DacBreakerOpen",
            f"{most('router_breaker_open', 'model', 'provider')} > 0.1",
            "15m",
            "warning",
            "{{ $labels.model }} at {{ $labels.provider }} has been left alone for 15 minutes",
            "Every trial call fails. If only this model is ill, look whether the provider still offers it.",
        ),
        Alert(
            "DacNoModelAvailable",
            f"{most('router_models_available')} == 0",
            "2m",
            "critical",
            "no model can be used",
            "Every chat is refused. No provider is configured and enabled, or the router does not hear the provider "
            "service: GET /v1/status says which.",
        ),
    ]


def _money() -> list[Alert]:
    reserve = 'rpc_method="dac.budget.v1.BudgetService/Reserve"'
    name = "rpc_server_call_duration_seconds_count"
    refusals = total(rate(name, reserve, BAD_CODE, window="5m"))
    return [
        Alert(
            "DacBudgetFailing",
            f"{share(refusals, total(rate(name, reserve, window='5m')))} > 0.5",
            "2m",
            "critical",
            "budget fails {{ $value | humanizePercentage }} of reservations",
            "No chat begins without a reservation. This is never a spent budget: budget's log names the fault, mostly "
            "PostgreSQL.",
        ),
        Alert(
            "DacSettlementsWaiting",
            f"{total('settlements_pending_current')} > 20",
            "10m",
            "warning",
            "{{ $value }} request records are not stored",
            "Gateways hold them in memory and try again; a gateway that ends now loses them, and their reservations "
            "are charged in full. Do not restart gateways; see why budget does not take records.",
        ),
        Alert(
            "DacRecordsLost",
            f"{total(increase('settlement_attempts_total', LOST, window='1h'))} > 0",
            "0m",
            "warning",
            "{{ $value | humanize }} request records were given up in the last hour",
            "The gateway's log names each request and why budget refused its record.",
        ),
        Alert(
            "DacIndeterminateCharges",
            f"{total(increase('budget_operations_total', *EXPIRED, window='1h'))} > 10",
            "0m",
            "warning",
            "{{ $value | humanize }} reservations were charged in full in the last hour",
            "Nobody said what those chats used, so their whole reservation was charged. Gateways die or cannot reach "
            "budget: look for restarts and for settlements that are tried again.",
        ),
        Alert(
            "DacAuditBehind",
            f"{most('budget_records_unread', 'consumer')} > 1000",
            "15m",
            "warning",
            "{{ $labels.consumer }} has not read {{ $value }} request records",
            "Nothing is lost, but GET /v1/requests lacks the newest requests, or router has not learned from them. See "
            "whether audit or router runs, and its log.",
        ),
    ]


def _audit() -> list[Alert]:
    return [
        Alert(
            "DacAuditOtherPast",
            f"{total(increase('audit_witness_total', OTHER_PAST, window='1h'), 'witness')} > 0",
            "0m",
            "critical",
            "{{ $labels.witness }} has cosigned another past of the audit log",
            "The log was set back or rewritten: a database restored from before, or somebody at work. Before anything "
            "else keep the witness's folder and a copy of the database, and find out why.",
        ),
        Alert(
            "DacAuditNotCosigned",
            f"{most('audit_witness_age_seconds', 'witness')} > {UNCOSIGNED_S}",
            "5m",
            "warning",
            "{{ $labels.witness }} has not cosigned the audit log for {{ $value | humanizeDuration }}",
            "Nothing is lost, but entries since then are proven to nobody outside. Board Overview, Checkpoints at "
            "witnesses, says whether it is unreachable or refuses; audit's log says why.",
        ),
    ]


def _edge() -> list[Alert]:
    name, window = "envoy_cluster_upstream_rq_xx", "10m"

    def bad_share(clusters: str) -> str:
        bad = total(rate(name, clusters, 'envoy_response_code_class="5"', window=window))
        return share(bad, total(rate(name, clusters, window=window)))

    enough = f"{total(increase(name, CANARY_CLUSTERS, window=window))} >= 20"
    return [
        Alert(
            "DacCanaryFailing",
            f"{bad_share(CANARY_CLUSTERS)} > 0.02 + 2 * ({bad_share(STABLE_CLUSTERS)} or vector(0)) and {enough}",
            "2m",
            "critical",
            "the canary fails {{ $value | humanizePercentage }} of its requests",
            "It fails more than twice as often as the stable gateways. Set its weight to 0, then read its log.",
        ),
        Alert(
            "DacEdgeWithoutGateway",
            f"max by (envoy_cluster_name) ({series('envoy_cluster_membership_healthy', STABLE_CLUSTERS)}) == 0",
            "2m",
            "critical",
            "no healthy gateway behind {{ $labels.envoy_cluster_name }}",
            "Envoy answers 503 by itself. See whether gateways run and are ready (GET /ready says what is missing).",
        ),
    ]


def alerts() -> list[Alert]:
    """Every alert."""
    return [*_availability(), *_providers(), *_money(), *_audit(), *_edge()]


def rules() -> dict[str, Any]:
    """The whole file."""
    return {
        "groups": [
            {"name": "dac-recordings", "interval": "30s", "rules": recordings()},
            {"name": "dac-availability", "rules": [alert.rule() for alert in _availability()]},
            {"name": "dac-providers", "rules": [alert.rule() for alert in _providers()]},
            {"name": "dac-money", "rules": [alert.rule() for alert in _money()]},
            {"name": "dac-audit", "rules": [alert.rule() for alert in _audit()]},
            {"name": "dac-edge", "rules": [alert.rule() for alert in _edge()]},
        ]
    }
