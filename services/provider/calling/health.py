"""A local view of which models fail right now, so that a request does not wait for what is known to be down."""

from collections.abc import Callable


class FailFast:
    """Counts failures in a row per (provider, upstream model)."""

    def __init__(self, clock: Callable[[], float], *, failing_after: int, window_s: float) -> None:
        self._clock, self._failing_after, self._window_s = clock, failing_after, window_s
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}

    def failing(self, provider: str, model: str) -> bool:
        """Whether it failed often enough, recently enough, to be skipped."""
        count, last = self._failures.get((provider, model), (0, 0.0))
        return count >= self._failing_after and self._clock() - last < self._window_s

    def succeeded(self, provider: str, model: str) -> None:
        """An answer began."""
        self._failures.pop((provider, model), None)

    def failed(self, provider: str, model: str) -> None:
        """An attempt failed through no fault of the caller."""
        count, _ = self._failures.get((provider, model), (0, 0.0))
        # After the window one failure is enough to skip again: a probe is one request, not five.
        self._failures[provider, model] = (count + 1, self._clock())
        if len(self._failures) > 4096:
            self._failures.pop(next(iter(self._failures)))
