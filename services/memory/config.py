"""What operators may set under `memory:`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryConfig:
    """Settings of memory."""

    window_max_messages: int = 100
    """The most earlier messages in a window when the caller does not say."""
    window_scan_messages: int = 500
    """The most earlier messages that are read to make a window, whatever the caller asks."""
    max_message_bytes: int = 8_388_608
    """The largest message that is saved."""
    thread_max_messages: int = 100_000
    """The most messages in one thread, on all branches; 0 = no limit. A turn that would be one too many is refused; an
    answer never is. Chat applications often set 500; the default only stops what runs away, because programs keep one
    thread for long."""
    thread_max_branches: int = 100
    """The most branches in one thread; 0 = no limit. Each edit and each new answer makes one, so the 10 that chat
    applications often set are soon reached."""
    thread_max_per_user: int = 10_000
    """The most threads, without deleted ones, of one user; 0 = no limit. Chat applications often set 1000. Threads of
    keys without a user are not counted: a program may begin one with every call."""
    cache_lifetime_s: float = 3600.0
    """How long a stored answer lives when the caller does not say."""
    cache_max_lifetime_s: float = 604_800.0
    """The longest life a caller may ask for."""
    cache_max_entry_bytes: int = 1_048_576
    """The largest answer that is stored; a larger one is not stored, and nobody is told an error."""
    cache_sweep_interval_s: float = 60.0
    """How often expired answers are deleted."""
    cache_sweep_limit: int = 1000
    """The most expired answers deleted in one transaction."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        for name in ("window_max_messages", "window_scan_messages", "max_message_bytes", "cache_max_entry_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("thread_max_messages", "thread_max_branches", "thread_max_per_user"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (no limit) or more, not {getattr(self, name)}")
        if self.cache_lifetime_s <= 0 or self.cache_sweep_interval_s <= 0:
            raise ValueError("cache_lifetime_s and cache_sweep_interval_s must be above 0")
