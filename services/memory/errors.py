"""The named failures of memory."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


def invalid(field: str, problem: str) -> MeshError:
    """A field breaks the contract."""
    return MeshError(Reason.INVALID_REQUEST, f"{field}: {problem}", metadata={"field": field})


def thread_not_found(thread_id: str) -> MeshError:
    """No such thread in the caller's organisation; another's thread looks the same."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no thread "{thread_id[:128]}" in this organisation; GET /api/threads lists them.',
        metadata={"thread_id": thread_id[:128]},
    )


def thread_deleted(thread_id: str) -> MeshError:
    """The thread was deleted and can be restored."""
    return MeshError(
        Reason.NOT_FOUND,
        f'The thread "{thread_id[:128]}" was deleted: POST /api/threads/{thread_id[:128]}/restore brings it back, '
        "DELETE with erase=true frees its id; or use another id.",
        metadata={"thread_id": thread_id[:128]},
    )


def thread_id_taken(thread_id: str) -> MeshError:
    """Somebody else of the organisation has a thread of this id."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no thread "{thread_id[:128]}" of yours, and the id is taken: leave thread_id out for a new one.',
        metadata={"thread_id": thread_id[:128]},
    )


def message_not_found(thread_id: str, message_id: str) -> MeshError:
    """No such message in this thread, or it was deleted."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no message "{message_id[:64]}" in this thread; '
        f"GET /api/threads/{thread_id[:128]}/messages lists them.",
        metadata={"message_id": message_id[:64]},
    )


def branch_not_found(thread_id: str, branch_id: str) -> MeshError:
    """No such branch in this thread."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no branch "{branch_id[:64]}" in this thread; '
        f"GET /api/threads/{thread_id[:128]}/branches lists them.",
        metadata={"branch_id": branch_id[:64]},
    )


def not_the_head(branch_id: str, head: str, parent: str) -> MeshError:
    """A branch went on since its caller looked."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The branch "{branch_id[:64]}" ends with message "{head}", not with parent_message_id "{parent[:64]}": read '
        "it again, or leave branch_id out to begin a new branch there.",
        metadata={"branch_id": branch_id[:64], "head_message_id": head},
    )


def diverged(branch_id: str, target_id: str) -> MeshError:
    """A fast-forward where the target has turns of its own."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The branch "{target_id[:64]}" has turns that "{branch_id[:64]}" has not, so its head cannot just move: merge '
        "with MERGE_POLICY_APPEND.",
        metadata={"branch_id": branch_id[:64], "target_branch_id": target_id[:64]},
    )


def main_stays() -> MeshError:
    """The branch "main" cannot be deleted."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        'The branch "main" cannot be deleted: delete its messages, or the thread.',
        metadata={"branch_id": "main"},
    )


def version_changed(thread_id: str, expected: int, found: int) -> MeshError:
    """The thread changed since its caller looked."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The thread "{thread_id[:128]}" has version {found}, not {expected}: read it again, then change it.',
        metadata={"version": str(found)},
    )


def others_threads() -> MeshError:
    """Somebody without scope "admin" asks for another user's threads."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        'Threads of another user need a key with scope "admin": leave user_id out for your own.',
        metadata={"field": "user_id"},
    )


def too_many_messages(thread_id: str, count: int, limit: int) -> MeshError:
    """A thread is full."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The thread "{thread_id[:128]}" has {count} messages and may have {limit}: begin a new thread, erase '
        "messages, or raise memory.thread_max_messages.",
        metadata={"limit": str(limit)},
    )


def too_many_branches(thread_id: str, count: int, limit: int) -> MeshError:
    """A thread has all the branches it may have."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The thread "{thread_id[:128]}" has {count} branches and may have {limit}: delete some, or raise '
        "memory.thread_max_branches. Edits and new answers are branches too.",
        metadata={"limit": str(limit)},
    )


def too_many_threads(count: int, limit: int) -> MeshError:
    """A user has all the threads that one may have."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"This user has {count} threads and may have {limit}: delete some, or raise memory.thread_max_per_user.",
        metadata={"limit": str(limit)},
    )


def message_too_large(size_bytes: int, limit_bytes: int) -> MeshError:
    """A message is larger than what is saved."""
    return MeshError(
        Reason.TOO_LARGE,
        f"A message has {size_bytes} bytes and at most {limit_bytes} are saved: shorten it.",
        metadata={"limit_bytes": str(limit_bytes)},
    )


def no_organisation() -> MeshError:
    """The principal belongs to no organisation, so it has no threads and no cache."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        "Threads and cached answers belong to an organisation, and this caller has none: use an API key of one.",
    )


def not_opened() -> MeshError:
    """The service was built without a database."""
    return MeshError(Reason.UNAVAILABLE, "memory has no database: start it with `dac up`, or set DATABASE_URL.")


def key_gone(about: str) -> MeshError:
    """A row was sealed by a data key that is destroyed, or that no master key at hand opens."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"The text of {about[:160]} cannot be read: its data key was destroyed, or belongs to another installation.",
        metadata={"about": about[:160]},
    )


def cannot_open(about: str) -> MeshError:
    """A sealed text does not open: it was changed, or stands in another row than it was sealed for."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"The text of {about[:160]} does not open: the row was changed outside of DAC. Restore it from a backup.",
        metadata={"about": about[:160]},
    )


def wrong_master_key(org_id: str, master_key_id: str) -> MeshError:
    """A data key was wrapped by a master key that is not at hand."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"A data key of organisation {org_id} is wrapped by master key {master_key_id}, which is not at hand: restore "
        "that master key (DAC_MASTER_KEY_OLD_FILE), or erase the organisation's memory.",
        metadata={"master_key_id": master_key_id},
    )


def no_embedder() -> MeshError:
    """Search by meaning alone, where nothing knows what texts mean."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "Search by meaning needs an embedder, and this memory has none: leave `mode` out to search by words, or give "
        "it one (memory.embedding_onnx_path).",
    )


def thread_differs(thread_id: str) -> MeshError:
    """A file is imported over a thread of the same id that has other messages."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'There is a thread "{thread_id[:128]}" already, and it does not hold what the file says: name another '
        "thread_id to import the file beside it.",
        metadata={"thread_id": thread_id[:128]},
    )


def other_batch(request_id: str) -> MeshError:
    """A batch's request id was used for other changes within a day."""
    return MeshError(
        Reason.REQUEST_ID_CONFLICT,
        f'request_id "{request_id[:128]}" was sent with other operations: use a new one for these.',
        metadata={"request_id": request_id[:128]},
    )


def batch_running(request_id: str) -> MeshError:
    """The same batch is being worked on."""
    return MeshError(
        Reason.UNAVAILABLE,
        f'The batch "{request_id[:128]}" is being worked on: send it again in a moment for its results.',
        metadata={"request_id": request_id[:128]},
        retry_after_s=2.0,
    )


def memory_not_found(memory_id: str) -> MeshError:
    """No such memory that the caller may see; another's looks the same."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no memory "{memory_id[:128]}"; GET /v1/memories lists them.',
        metadata={"memory_id": memory_id[:128]},
    )


def not_yours(user_id: str) -> MeshError:
    """Somebody wants to keep a memory for another user."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f'Only a key with scope "admin" keeps memories for others; leave user_id empty, not "{user_id[:64]}".',
        metadata={"scope": "admin"},
    )


def sealing_off() -> MeshError:
    """A data key shall be changed, and text is not sealed."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "Text is not sealed in this installation, so there is no data key to change: set memory.encrypt_text: true.",
    )


def erased_meanwhile() -> MeshError:
    """An organisation's memory was erased while it turned to a new data key."""
    return MeshError(
        Reason.FAILED_PRECONDITION, "The organisation's memory was erased meanwhile: it gets a new data key anyway."
    )


def not_confirmed(named: str) -> MeshError:
    """An erasure names another organisation than the caller's."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f'org_id: "{named[:64]}" is not the organisation of this key. Name it (GET /v1/caller) to confirm: '
        "everything that memory has of it will be gone.",
        metadata={"field": "org_id"},
    )
