"""How many requests may be sent a second time: a share of those sent once, so that retries cannot feed an outage.

After Finagle's RetryBudget (Twitter, "Finagle: Retries") and Envoy's retry_budget: every first attempt earns a part of
a retry, every retry spends a whole one. A small reserve lets a quiet installation retry at all.
"""

RESERVE = 10.0
"""Retries that a provider may get before it has earned any, and the most that are kept."""


class RetryBudget:
    """Counts per provider. A ratio of 0 switches it off."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._left: dict[str, float] = {}

    def sent(self, provider: str) -> None:
        """A request goes to a provider for the first time."""
        if self._ratio > 0:
            self._left[provider] = min(RESERVE, self._left.get(provider, RESERVE) + self._ratio)

    def spend(self, provider: str) -> bool:
        """Whether one more may be sent to a provider that it was sent to already; counts it."""
        if self._ratio <= 0:
            return True
        left = self._left.get(provider, RESERVE)
        if left < 1:
            return False
        self._left[provider] = left - 1
        return True
