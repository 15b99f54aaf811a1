"""What operators may set under `router:`."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.router.deciding.scoring import PROFILES
from services.router.resolving.overrides import parse_never
from services.router.sources import FETCHED, fault_of


@dataclass(frozen=True)
class RouterConfig:
    """Settings of the router."""

    default_profile: str = "balanced"
    """The profile of a plain "auto"."""
    max_candidates: int = 4
    """The most models in a chain, the primary included."""
    named_fallbacks: bool = False
    """Whether a request that names a model may be answered by another one when that model fails."""
    max_quality_drop: float = 0.25
    """How far below the primary's quality a fallback may stand."""
    diversity_quality_margin: float = 0.1
    """How close in quality a model of another provider must be to become the first fallback."""
    default_output_tokens: int = 1024
    """Room kept for the answer when the request names no limit."""
    discovered_quality: float = 0.1
    """The quality assumed of a model that only its provider's list knows and that was never asked the graded
    questions."""
    discovered_context_tokens: int = 8192
    """The context assumed of such a model."""
    auto_unprobed: bool = False
    """Whether auto may choose such models too."""
    never_join: tuple[str, ...] = ()
    """What a public source says of these is never taken for a model, written "SOURCE:NAME != MODEL"; NAME may be *."""
    breaker_failures: int = 3
    """Provider faults in a row that open a breaker."""
    breaker_open_s: float = 60.0
    """How long an open breaker lets nothing through before one trial."""
    breaker_ramp: tuple[float, ...] = (0.1, 0.5)
    """The shares of the traffic that a breaker lets through after a good trial, one stage after the other; empty = all
    of it at once."""
    breaker_ramp_successes: int = 3
    """Successes that end a stage."""
    breaker_ramp_s: float = 30.0
    """Time without a fault that ends a stage as well."""
    breaker_error_rate: float = 0.5
    """The share of faults that opens a breaker, whatever their order; 0 = only faults in a row do."""
    breaker_window_s: float = 60.0
    """The time over which that share is counted."""
    breaker_min_outcomes: int = 20
    """So many attempts must have ended in that time before their share counts."""
    slow_factor: float = 2.0
    """How far above the policy's first-token limit a model's live 95th percentile may lie before others go first."""
    learn_prior_strength: float = 15.0
    """How many outcomes the catalog's word on a model is worth, when it is set beside what was learned of it."""
    learn_discount: float = 0.9998
    """What an outcome leaves of the weight of those before it, for each organisation and kind of prompt; 1 = nothing
    is ever forgotten."""
    learn_cost_per_usd: float = 20.0
    """What a dollar an answer takes from a model's efficiency score."""
    learn_latency_per_s: float = 0.01
    """What a second takes from it."""
    learn_every_s: float = 1.0
    """The pause between two batches of outcomes."""
    learn_fetch_limit: int = 500
    """The most request records in a batch."""
    learned_refresh_s: float = 5.0
    """How often a replica reads what others have learned."""
    feedback_window_s: float = 604_800.0
    """How long an answer may be rated."""
    feedback_wait_s: float = 4.0
    """How long a rating waits for the record of its request, which may still be on its way."""
    policy_poll_s: float = 0.5
    """How often the files with policies are looked at, and whether another replica changed one is asked for, when the
    database's notification is lost."""
    reconnect_min_s: float = 0.1
    """The first wait before a lost stream of news is opened again."""
    reconnect_max_s: float = 2.0
    """The longest such wait."""
    offline: bool = field(default=False, metadata={"env": "DAC_OFFLINE"})
    """Asks no public source of models: what is shipped, and copies made before, are all that is known."""
    sources: tuple[str, ...] = ("openrouter", "lmarena", "hugging_face", "models_dev", "ollama")
    """The public sources that are asked; litellm and genai_prices may be added."""
    openrouter_interval_s: float = 3600.0
    """How often OpenRouter is asked, give or take a tenth."""
    source_interval_s: float = 86400.0
    """How often every other source is asked, give or take a tenth."""
    source_first_s: float = 300.0
    """About how long after a start sources are first asked; a copy that is young enough is not asked for."""
    source_timeout_s: float = 120.0
    """The longest that an answer of a source may take, with all its pages."""
    source_addresses: tuple[str, ...] = ()
    """Where a source is asked instead, e.g. models_dev=https://mirror.example.com/api.json; a name may stand twice."""
    source_private_addresses: bool = False
    """Whether sources may be asked at private addresses, and without TLS: for a mirror of your own."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        if self.default_profile not in PROFILES:
            raise ValueError(f'default_profile must be one of {", ".join(PROFILES)}, not "{self.default_profile}"')
        if self.max_candidates < 1:
            raise ValueError(f"max_candidates must be at least 1, not {self.max_candidates}")
        if not 0 <= self.max_quality_drop <= 1:
            raise ValueError(f"max_quality_drop must be between 0 and 1, not {self.max_quality_drop}")
        if not 0 <= self.discovered_quality <= 1:
            raise ValueError(f"discovered_quality must be between 0 and 1, not {self.discovered_quality}")
        for one in self.never_join:
            parse_never(one)
        if self.breaker_failures < 1:
            raise ValueError(f"breaker_failures must be at least 1, not {self.breaker_failures}")
        if not all(0 < share < 1 for share in self.breaker_ramp) or list(self.breaker_ramp) != sorted(
            self.breaker_ramp
        ):
            raise ValueError(f"breaker_ramp must be growing shares between 0 and 1, not {self.breaker_ramp}")
        if self.breaker_ramp_successes < 1:
            raise ValueError(f"breaker_ramp_successes must be at least 1, not {self.breaker_ramp_successes}")
        if self.breaker_ramp_s <= 0 or self.breaker_window_s <= 0:
            raise ValueError("breaker_ramp_s and breaker_window_s must be above 0")
        if not 0 <= self.breaker_error_rate <= 1:
            raise ValueError(f"breaker_error_rate must be between 0 and 1, not {self.breaker_error_rate}")
        if self.learn_prior_strength <= 0:
            raise ValueError(f"learn_prior_strength must be above 0, not {self.learn_prior_strength}")
        if not 0.9 <= self.learn_discount <= 1:
            raise ValueError(f"learn_discount must be between 0.9 and 1, not {self.learn_discount}")
        if self.learn_cost_per_usd < 0 or self.learn_latency_per_s < 0:
            raise ValueError("learn_cost_per_usd and learn_latency_per_s must be 0 or more")
        if (
            self.learn_every_s <= 0
            or self.learned_refresh_s <= 0
            or self.feedback_window_s <= 0
            or self.feedback_wait_s <= 0
        ):
            raise ValueError("learn_every_s, learned_refresh_s, feedback_window_s and feedback_wait_s must be above 0")
        if not 1 <= self.learn_fetch_limit <= 1000:
            raise ValueError(f"learn_fetch_limit must be between 1 and 1000, not {self.learn_fetch_limit}")
        if self.slow_factor < 1:
            raise ValueError(f"slow_factor must be at least 1, not {self.slow_factor}")
        if self.policy_poll_s <= 0:
            raise ValueError(f"policy_poll_s must be above 0, not {self.policy_poll_s}")
        if not 0 < self.reconnect_min_s <= self.reconnect_max_s:
            raise ValueError("reconnect_min_s must be above 0 and at most reconnect_max_s")
        self._check_sources()

    def _check_sources(self) -> None:
        for name in self.sources:
            if name not in FETCHED:
                raise ValueError(f'sources: there is no source "{name}"; there are {", ".join(FETCHED)}')
        for one in self.source_addresses:
            if problem := fault_of(one, private=self.source_private_addresses):
                raise ValueError(f"source_addresses: {problem}")
        if min(self.openrouter_interval_s, self.source_interval_s) < 60 or self.source_timeout_s <= 0:
            raise ValueError("sources are asked every 60 seconds at most, and have more than 0 seconds to answer")
        if self.source_first_s < 0:
            raise ValueError(f"source_first_s must not be negative, not {self.source_first_s}")
