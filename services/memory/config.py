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
    encrypt_text: bool = False
    """Whether text at rest is sealed with a data key of its organisation, see docs/encryption.md. Whatever is set, what
    was sealed stays readable; switched on, older rows are sealed in the background."""
    encrypt_key_check_s: float = 5.0
    """How long a data key is used without asking the database whether it is still the organisation's."""
    encrypt_reseal_rows: int = 500
    """The most rows of one table that are sealed anew in one transaction in the background."""
    encrypt_reseal_interval_s: float = 60.0
    """How often it is looked for rows to seal anew."""

    def __post_init__(self) -> None:
        """Refuses what could not work."""
        for name in ("window_max_messages", "window_scan_messages", "max_message_bytes", "cache_max_entry_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.cache_lifetime_s <= 0 or self.cache_sweep_interval_s <= 0:
            raise ValueError("cache_lifetime_s and cache_sweep_interval_s must be above 0")
