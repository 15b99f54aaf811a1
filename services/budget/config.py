"""What operators may set under `budget:`."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
MODES = ("strict", "balanced")


@dataclass(frozen=True)
class BudgetConfig:
    """Settings of the budget service."""

    reservation_mode: str = "strict"
    """"strict": the most that a request can cost is held, and the limit of its answer goes to the provider. "balanced":
    the prompt is held by estimate and a stream's answer in steps, which are extended while it runs; cut when nothing is
    left."""
    default_output_tokens: int = 4096
    """Answer tokens to hold when the request names no limit; "balanced" begins with them."""
    extend_output_tokens: int = 1024
    """By how much "balanced" extends a stream's answer."""
    reservation_ttl_s: float = 900.0
    """How long a reservation lives when the caller does not say; longer than the longest request."""
    max_reservation_ttl_s: float = 86_400.0
    """The longest life a caller may ask for."""
    max_batch_operations: int = 256
    """The most reserves and commits in one transaction."""
    sweep_interval_s: float = 5.0
    """How often expired reservations are looked for."""
    sweep_limit: int = 500
    """The most expired reservations taken at once in one organisation."""
    record_linger_ms: float = 100.0
    """How long a waiting FetchRecords gathers after the first new record, so that records travel in batches."""
    record_poll_s: float = 1.0
    """How often a waiting FetchRecords looks for records of other replicas."""
    required_consumers: tuple[str, ...] = ("audit",)
    """Consumers that must have read a record before it is removed, also if they have never asked."""
    consumer_forget_after_s: float = 604_800.0
    """A consumer (not a required one) that has not asked for this long no longer holds records back."""
    price_poll_s: float = 5.0
    """How often prices written by other replicas are looked for."""
    admin_retry_s: float = 2.0
    """How long to wait before administrative changes are offered to audit again."""
    rate_limit_output_tokens: int = 256
    """Answer tokens that rate limits count at first for a request that names no limit; corrected when it has ended."""
    rate_limit_poll_s: float = 0.5
    """How often rate limits changed by other replicas are looked for."""
    envoy_rate_limits: bool = False
    """Whether Envoy may ask this service (RLS v3), which needs no proof of who asks: for a port that only Envoy and
    DAC reach."""
    envoy_address_requests_per_minute: int = 0
    """How many requests a minute Envoy lets through for each caller's address; 0 = no limit."""
    envoy_key_requests_per_minute: int = 0
    """The same for each API key."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        if self.reservation_mode not in MODES:
            raise ValueError(f'reservation_mode must be {" or ".join(MODES)}, not "{self.reservation_mode[:40]}"')
        if self.default_output_tokens < 1 or self.extend_output_tokens < 1:
            raise ValueError("default_output_tokens and extend_output_tokens must be at least 1")
        if self.max_reservation_ttl_s < DAY_S:
            raise ValueError(
                f"max_reservation_ttl_s must be at least a day ({DAY_S:.0f}), not {self.max_reservation_ttl_s}: a "
                "reservation that ends before its request is charged at its bound"
            )
        if not 0 < self.reservation_ttl_s <= self.max_reservation_ttl_s:
            raise ValueError(
                f"reservation_ttl_s must be above 0 and at most max_reservation_ttl_s, not {self.reservation_ttl_s}"
            )
