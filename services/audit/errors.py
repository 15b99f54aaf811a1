"""The named failures of audit."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


def invalid(field: str, problem: str) -> MeshError:
    """A field breaks the contract."""
    return MeshError(Reason.INVALID_REQUEST, f"{field}: {problem}", metadata={"field": field})


def request_not_found(request_id: str) -> MeshError:
    """No such request in the caller's organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"request {request_id} is not recorded in this organisation; the id is the x-dac-request-id header of the "
        "answer; GET /v1/requests lists the newest.",
        metadata={"request_id": request_id},
    )


def page_token_invalid() -> MeshError:
    """The token is not one of this method, or came with other filters."""
    return invalid(
        "page_token",
        "it is not one that this method returned for these filters; start without it, or repeat the filters",
    )


def log_has_another_key(log: str, own: str) -> MeshError:
    """The log was begun with a key that this replica does not have."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"the audit log was begun as {log}, and the key here is that of {own}: restore data/secrets/audit-log.key, or "
        "name the right file in audit.log_key_file; until then nothing is appended to the log",
    )


def log_is_damaged(what: str) -> MeshError:
    """The stored log does not fit its own checkpoint."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"the audit log is damaged: {what}; nothing is appended to it until it is restored from a backup; "
        "`dac audit verify` says more",
    )


def log_lead_lost() -> MeshError:
    """Another replica has taken the lead."""
    return MeshError(Reason.UNAVAILABLE, "another replica has taken the lead of the audit log")


def not_in_log(record_id: str) -> MeshError:
    """No such leaf in the caller's organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"{record_id} is not in the log of this organisation; the id is that of a request or of a change; what has "
        "just been recorded is in it a moment later (wait_s)",
        metadata={"record_id": record_id},
    )


def texts_need_sealing() -> MeshError:
    """Prompts and answers are recorded sealed or not at all."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "prompts and answers are kept only where records are sealed: set audit.seal_payloads on every replica of audit",
    )


def no_text(request_id: str) -> MeshError:
    """The organisation has no text of this request."""
    return MeshError(
        Reason.NOT_FOUND,
        f"no text of request {request_id[:80]!r} is recorded in this organisation: it went to no provider while "
        "gateway.record_prompts named the organisation, or its record was removed",
    )


def no_checkpoint() -> MeshError:
    """The log is empty."""
    return MeshError(Reason.NOT_FOUND, "the log has no entry yet; ask again when something was recorded")


def not_cosigned() -> MeshError:
    """No witness has cosigned a checkpoint."""
    return MeshError(
        Reason.NOT_FOUND,
        "no witness has cosigned the log yet: name one in audit.witnesses, and see audit's log for what it answers",
    )


def no_such_file(path: str) -> MeshError:
    """The log has no such tile or bundle at its present size."""
    return MeshError(
        Reason.NOT_FOUND,
        f"the log has no file {path[:200]!r} now: checkpoint, tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>]",
    )


def before_start(start: int) -> MeshError:
    """What was asked for is made of leaves that are gone."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"the log begins with entry {start}, and the leaves before it were dropped: an archive from before has them, "
        "`dac audit verify --archive`",
        metadata={"start": str(start)},
    )


def begins_later_now() -> MeshError:
    """Leaves were dropped while they were being read out."""
    return MeshError(
        Reason.UNAVAILABLE, "old leaves were dropped while the log was being read: ask again", retry_after_s=1.0
    )


def not_cosigned_since_start() -> MeshError:
    """The leaf that declares the log's start is behind the newest cosigned checkpoint."""
    return MeshError(
        Reason.NOT_FOUND,
        "no witness has cosigned the log since old leaves were dropped: ask again when one has",
    )


def no_such_checkpoint(problem: str) -> MeshError:
    """A checkpoint is not one of this log."""
    return invalid("checkpoint", f"it is none of this log: {problem}")


def held(hold_id: str, subject: str, reason: str) -> MeshError:
    """A legal hold forbids it."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"legal hold {hold_id} on {subject or 'the whole organisation'} ({reason}) keeps these records: lift it first, "
        f"`dac audit hold --lift {hold_id}`",
        metadata={"hold_id": hold_id, "subject": subject},
    )


def holds_changed() -> MeshError:
    """A hold was set or lifted while records were looked for."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "a legal hold was set or lifted meanwhile: nothing more is removed; look at the holds and ask again",
    )


def no_such_hold(hold_id: str) -> MeshError:
    """There is no such hold in the organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"no legal hold {hold_id} in this organisation: `dac audit hold --list` shows them",
        metadata={"hold_id": hold_id},
    )


def hold_is_the_operators(hold_id: str) -> MeshError:
    """An organisation's administrator cannot lift what the operator holds."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"legal hold {hold_id} was set by the operator, who alone lifts it",
        metadata={"hold_id": hold_id},
    )


def removed_meanwhile() -> MeshError:
    """Records went while they were being read out."""
    return MeshError(
        Reason.UNAVAILABLE,
        "records were erased or pruned while they were being read, and this checkpoint is older than that: ask again",
        retry_after_s=1.0,
    )


def wrong_master_key(org_id: str, master_key_id: str) -> MeshError:
    """The key of an organisation's payloads was wrapped by a master key that is not at hand."""
    return MeshError(
        Reason.UNAVAILABLE,
        f"the key of organisation {org_id}'s payloads is wrapped by master key {master_key_id}, which is not at hand: "
        "restore that master key, or name it in DAC_MASTER_KEY_OLD_FILE; until then records wait",
        metadata={"master_key_id": master_key_id},
    )


def payload_key_is_damaged(org_id: str, key_id: str) -> MeshError:
    """A subject's key does not open with its organisation's."""
    return MeshError(
        Reason.UNAVAILABLE,
        f"payload key {key_id} of organisation {org_id} was changed in the database and does not open: restore the "
        "table payload_keys from a backup",
        metadata={"key_id": key_id},
    )


def keys_destroyed_meanwhile() -> MeshError:
    """A payload could not be sealed: its keys were destroyed again and again while it was."""
    return MeshError(Reason.UNAVAILABLE, "keys were destroyed while records were sealed: try again", retry_after_s=1.0)
