"""Settings of the provider service."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ProviderConfig:
    """Section `provider`."""

    frame_interval_ms: float = 0.0
    """How long stream events are gathered into one message; 0 = each network read at once (in process)."""
    frame_bytes: int = 16384
    """Gathered events are sent when they reach this size."""
    max_waiting: int = 64
    """How many requests may wait for a free place at one provider; more are refused as busy."""
    plain_wait_factor: float = 3.0
    """An answer that is not streamed shows nothing until it is whole: it may take first_token_timeout_s times this."""
    max_answer_bytes: int = 11_534_336
    """The largest answer that is not streamed; at most 11 MiB, so that it fits one message between processes."""
    max_event_bytes: int = 1_048_576
    """The largest single stream event."""
    retry_delay_s: float = 0.2
    """Before the one retry at the same provider, on average: any time from none to twice this."""
    retry_ratio: float = 0.2
    """How many retries and hedges a provider gets for each request it was sent, beside a reserve of ten; 0 = any."""
    content_filter_fallback: bool = False
    """Whether a prompt that one provider's filter of contents refused may be put to the next candidate."""
    max_retry_after_s: float = 2.0
    """A provider that asks to wait longer than this is left for the next candidate."""
    failing_after: int = 5
    """A model that failed this often in a row is skipped while another candidate exists."""
    failing_window_s: float = 10.0
    """How long after its last failure a failing model is skipped."""
    cooldown_min_s: float = 1.0
    """How long a deployment is left alone after a fault; each further fault in a row doubles it."""
    cooldown_max_s: float = 60.0
    """The longest such time, also when the provider asks for a longer one."""
    poll_interval_s: float = 0.5
    """How often the version of API-added providers is read, beside notifications."""
    key_refused_s: float = 300.0
    """How long a key that its provider refused (401, 402, 403) is left, while others are taken."""
    key_limited_s: float = 1.0
    """How long a key over its rate limit (429) is left when the provider names no time."""
    opened_organisations: int = 1024
    """The secrets of how many organisations' own keys are kept opened in memory; others are opened at need."""
    google_token_address: str = "https://oauth2.googleapis.com/token"
    """Where service accounts of providers of kind vertex get their access tokens."""
    local_context_tokens: int = 8192
    """Context of the embedded model, divided between its slots."""
    local_slots: int = 2
    """How many requests the embedded model answers at once."""
    local_max_tokens: int = 512
    """Output limit of the embedded model for requests that set none."""
    discovery_interval_s: float = 21_600.0
    """How often every provider is asked for its models, give or take a tenth; 0 = only when somebody asks for it."""
    discovery_first_s: float = 60.0
    """How long after a start the first look at what is due comes: a start never waits for providers."""
    discovery_timeout_s: float = 15.0
    """How long one provider's whole list may take."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        if self.discovery_interval_s and self.discovery_interval_s < 60:
            raise ValueError(
                f"discovery_interval_s is {self.discovery_interval_s:g}: set it to 60 or more, or to 0 for never, "
                "because providers refuse those who ask too often"
            )
        if self.discovery_first_s < 0 or not 0 < self.discovery_timeout_s <= 300:
            raise ValueError("discovery_first_s must be at least 0, discovery_timeout_s above 0 and at most 300")
        if self.local_slots < 1 or self.max_waiting < 0 or self.max_event_bytes < 1024:
            raise ValueError("local_slots must be at least 1, max_waiting at least 0, max_event_bytes at least 1024")
        if not 0 < self.cooldown_min_s <= self.cooldown_max_s:
            raise ValueError("cooldown_min_s must be above 0 and at most cooldown_max_s")
        if not 0 < self.max_answer_bytes <= 11 << 20:
            raise ValueError(
                f"max_answer_bytes is {self.max_answer_bytes}: set it between 1 and 11534336 (11 MiB), "
                "because gRPC callers take no message over 12 MiB"
            )
