"""What operators may set under `audit:`."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class AuditConfig:
    """Settings of the audit service."""

    fetch_limit: int = 500
    """The most request records taken from budget at once."""
    fetch_wait_s: float = 20.0
    """How long one fetch waits for a record."""
    retry_first_s: float = 0.1
    """The first pause after budget could not be reached; it doubles."""
    retry_last_s: float = 5.0
    """The longest such pause, and how often an idle replica tries to become the leader."""
    settle_wait_s: float = 1.0
    """How long GetRequest waits for a request that has just finished to arrive."""
    follow_poll_s: float = 1.0
    """How often FollowRequests looks for rows that another replica wrote, and the log for its changes."""
    log_key_file: pathlib.Path | None = None
    """The key that signs the log's checkpoints. Without it data/secrets/audit-log.key, made at the first start."""
    log_batch: int = 1000
    """The most requests that are appended to the log at once."""
