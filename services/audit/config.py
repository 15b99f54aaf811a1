"""What operators may set under `audit:`."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from mesh.tlog.cosignatures import witness_key
from mesh.tlog.notes import NoteError, VerifierKey


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
    heads_every_s: float = 3600.0
    """How often the log notes the last number of every organisation, which exports are held against; 0 = never."""
    pack_after_days: int = 90
    """Entries of the log that are so old are packed into a fifth of their place; 0 = never."""
    pack_every_s: float = 3600.0
    """How often old entries are looked for."""
    request_payload_kept_days: int = 90
    """How many days the records of requests are kept beside their leaves; 0 = for ever. A legal hold keeps them."""
    change_payload_kept_days: int = 2557
    """How many days the records of administrative changes are kept; 0 = for ever. Seven years."""
    seal_payloads: bool = False
    """Whether new records are sealed with keys of the users and keys they concern. Switch it on when every replica runs
    a version that knows it; what is sealed stays readable when it is switched off."""
    leaves_kept_days: int = 2557
    """How many days the log's leaves are kept; 0 = for ever. Seven years. They go by whole windows of 4,096, when no
    payload of these is left and no legal hold covers an organisation that has one among them."""
    drop_unarchived: bool = False
    """Whether leaves are dropped that no `dac audit archive` was reported to have. They cannot be had back."""
    prune_every_s: float = 3600.0
    """How often the leader removes what is older than that."""
    witnesses: tuple[str, ...] = ()
    """Who cosigns the log's checkpoints on other machines, each as "URL VERIFIER_KEY" (`dac audit witness` prints the
    key)."""
    witness_every_s: float = 60.0
    """The least time between two checkpoints that witnesses are asked for."""
    minutes_kept_days: int = 2
    """How many days figures by the minute are kept; those by the hour and the day hold them too."""
    hours_kept_days: int = 92
    """How many days figures by the hour are kept; those by the day hold them too."""
    days_kept_days: int = 2557
    """How many days figures by the day are kept: seven years."""
    count_every_s: float = 1.0
    """The least time between two batches that are counted; a dashboard counts what waits before it answers."""
    upkeep_s: float = 60.0
    """How often partitions are made and dropped, and days counted anew that are due."""
    evidence_requests: int = 100
    """The fewest requests of each side that a recommendation rests on."""
    event_lines: bool = False
    """Whether each request that ended and each administrative change is a JSON line on standard error."""

    def __post_init__(self) -> None:
        for line in self.witnesses:
            read_witness(line)
        if self.witness_every_s < 1:
            raise ValueError(f"witness_every_s is {self.witness_every_s:g}: at least 1")


class WitnessAt(NamedTuple):
    """A witness and where it is."""

    url: str
    key: VerifierKey


def read_witness(line: str) -> WitnessAt:
    """The witness of a line "URL VERIFIER_KEY". Raises ValueError."""
    url, _, key = line.strip().partition(" ")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f'witnesses: "{url[:80]}" is no address of a witness: http(s)://HOST[:PORT][/PREFIX]')
    try:
        return WitnessAt(url.rstrip("/"), witness_key(key))
    except NoteError as error:
        raise ValueError(f"witnesses: {url[:80]}: {error}") from None
