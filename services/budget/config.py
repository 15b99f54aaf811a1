"""What operators may set under `budget:`."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.config import Secret
from mesh.signed_webhooks import check_address, signing_key
from services.budget.alerts.alerts import is_address

DAY_S = 86_400.0
TLS = ("starttls", "implicit", "none")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
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
    usage_fold_interval_s: float = 10.0
    """How often the ledger's new lines are added to the sums that usage is read from; until then they are read
    themselves."""
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

    alert_webhook_url: str = ""
    """Where crossed thresholds of all organisations' budgets are POSTed, signed; https unless
    alert_webhook_allow_private_address. Empty = nowhere."""
    alert_webhook_secret: Secret | None = None
    """What its events are signed with: "whsec_" and Base64 of at least 24 random bytes, or a text of as many."""
    alert_webhook_allow_private_address: bool = False
    """Let alert_webhook_url lead to a private or local address, also over http."""
    smtp_host: str = ""
    """The mail server that takes warnings to the alert_emails of a budget. Empty = no mail."""
    smtp_port: int = 587
    """Its port."""
    smtp_tls: str = "starttls"
    """"starttls"; "implicit" (usually port 465); or "none", which sends no password except to this machine."""
    smtp_username: str = ""
    """Whom to log in as. Empty = nobody."""
    smtp_password: Secret | None = None
    """With which password."""
    smtp_from: str = ""
    """The sender's address."""
    alert_interval_s: float = 5.0
    """How often crossed thresholds are looked for that nobody was told of."""
    alert_retry_first_s: float = 10.0
    """How long to wait before a warning that did not arrive is sent again; it doubles."""
    alert_retry_last_s: float = 3600.0
    """The longest such wait."""
    alert_give_up_after_s: float = 259_200.0
    """A warning that did not arrive for so long is given up."""

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
        if self.usage_fold_interval_s <= 0:
            raise ValueError(f"usage_fold_interval_s must be above 0, not {self.usage_fold_interval_s}")
        self._check_webhook()
        self._check_mail()

    def _check_webhook(self) -> None:
        if not self.alert_webhook_url:
            return
        check_address(
            self.alert_webhook_url, "alert_webhook_url", allow_private=self.alert_webhook_allow_private_address
        )
        if self.alert_webhook_secret is None:
            raise ValueError("alert_webhook_url needs alert_webhook_secret, by which receivers know DAC's events")
        try:
            signing_key(self.alert_webhook_secret.reveal())
        except ValueError as error:
            raise ValueError(f"alert_webhook_secret: {error}") from None

    def _check_mail(self) -> None:
        if not self.smtp_host:
            return
        if self.smtp_tls not in TLS:
            raise ValueError(f'smtp_tls must be one of {", ".join(TLS)}, not "{self.smtp_tls[:40]}"')
        if not is_address(self.smtp_from):
            raise ValueError(f'smtp_from must be an address such as dac@example.com, not "{self.smtp_from[:80]}"')
        if self.smtp_tls == "none" and self.smtp_username and self.smtp_host not in LOCAL_HOSTS:
            raise ValueError('smtp_tls "none" would send smtp_password in the clear; use "starttls" or "implicit"')
