"""Threads, messages and branches as the messages of dac.memory.v1."""

from __future__ import annotations

import datetime as dt

import msgspec
from google.protobuf.struct_pb2 import Struct

from dac.memory.v1 import conversation_pb2
from mesh.structs import plain
from services.memory import errors
from services.memory.conversations.threads import COMPLETE, PARTIAL, Branch, BranchStats, Thread, ThreadChange
from services.memory.conversations.window import Message

CLEARABLE = ("title", "tags", "model", "parameters")


def thread_form(thread: Thread) -> conversation_pb2.Thread:
    """A thread on the wire."""
    form = conversation_pb2.Thread(
        thread_id=thread.thread_id,
        conversation_id=thread.thread_id,
        title=thread.title,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        message_count=thread.message_count,
        user_id=thread.user_id,
        tags=thread.tags,
        model=thread.model,
        active_branch_id=thread.active_branch,
        deleted_at=thread.deleted_at,
        version=thread.version,
        agent_id=thread.agent_id,
    )
    if thread.parameters:
        form.parameters.update(msgspec.json.decode(thread.parameters))
    return form


def parameters_text(parameters: Struct) -> str:
    """Parameters as they are stored; whole numbers stay whole. Empty for {}."""
    document = plain(parameters)
    return msgspec.json.encode(document).decode() if document else ""


def change_of(request: conversation_pb2.UpdateThreadRequest) -> ThreadChange:
    """What an update changes. Raises INVALID_REQUEST."""
    for name in request.clear:
        if name not in CLEARABLE:
            raise errors.invalid("clear", f'"{name[:32]}" is none of {", ".join(CLEARABLE)}')
    clear = set(request.clear)
    return ThreadChange(
        title=request.title if request.HasField("title") else "" if "title" in clear else None,
        tags=tuple(request.tags) if request.tags else () if "tags" in clear else None,
        model=request.model if request.HasField("model") else "" if "model" in clear else None,
        parameters=parameters_text(request.parameters)
        if request.HasField("parameters")
        else ""
        if "parameters" in clear
        else None,
        version=request.version,
    )


def status_text(status: int) -> str:
    """A message's status as it is stored."""
    return PARTIAL if status == conversation_pb2.Message.STATUS_PARTIAL else COMPLETE


def message_form(message: Message) -> conversation_pb2.Message:
    """A message on the wire."""
    whole = message.status == COMPLETE
    return conversation_pb2.Message(
        message_id=message.message_id,
        thread_id=message.thread_id,
        role=message.role,
        text=message.text,
        openai_json=message.openai_json,
        tokens_estimated=message.tokens_estimated,
        request_id=message.request_id,
        model=message.model,
        created_at=_moment(message.created_at_s),
        parent_message_id=message.parent_id,
        status=conversation_pb2.Message.STATUS_COMPLETE if whole else conversation_pb2.Message.STATUS_PARTIAL,
        finish_reason=message.finish_reason,
        replaces_message_id=message.replaces,
        copied_from_message_id=message.copied_from,
        branch_id=message.branch_id,
        deleted_at=_moment(message.deleted_at_s) if message.deleted_at_s else None,
    )


def branch_form(branch: Branch) -> conversation_pb2.Branch:
    """A branch on the wire."""
    return conversation_pb2.Branch(
        branch_id=branch.branch_id,
        name=branch.name,
        head_message_id=branch.head,
        forked_from_message_id=branch.forked_from,
        active=branch.active,
        created_at=branch.created_at,
        updated_at=branch.updated_at,
    )


def stats_form(stats: BranchStats) -> conversation_pb2.GetBranchStatsResponse:
    """Counts of a branch on the wire."""
    return conversation_pb2.GetBranchStatsResponse(
        branch=branch_form(stats.branch),
        message_count=stats.message_count,
        user_messages=stats.by_role.get("user", 0),
        assistant_messages=stats.by_role.get("assistant", 0),
        partial_messages=stats.partial,
        tokens_estimated=stats.tokens_estimated,
        ahead_of_main=stats.ahead_of_main,
        behind_main=stats.behind_main,
        models=stats.models,
        first_message_at=stats.first_at,
        last_message_at=stats.last_at,
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
