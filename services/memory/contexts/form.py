"""BuildContext's messages and the values of the domain: one into the other."""

from __future__ import annotations

from dac.memory.v1 import memory_pb2
from mesh.turn_limits import check_context_messages
from services.memory import errors
from services.memory.contexts.context import SUMMARY, Context, new_piece
from services.memory.contexts.contexts import Asked, Built
from services.memory.contexts.summaries import Summary
from services.memory.contexts.token_counts import Counting
from services.memory.recall.form import stamp

ROLES = ("system", "user", "assistant", "tool")


def asked_of(request: memory_pb2.BuildContextRequest, counting: Counting) -> Asked:
    """What a context is asked for. Raises INVALID_REQUEST."""
    check_context_messages(len(request.messages))
    for at, message in enumerate(request.messages):
        if message.role not in ROLES:
            raise errors.invalid(f"messages[{at}].role", f'"{message.role[:32]}" is none of {", ".join(ROLES)}')
    return Asked(
        thread_id=request.thread_id,
        parent_message_id=request.parent_message_id,
        request_id=request.request_id,
        news=[new_piece(one.role, one.text, one.openai_json, max(0, one.tokens), counting) for one in request.messages],
        max_tokens=request.max_tokens,
        max_messages=request.max_messages,
        recall=request.recall.enabled,
        across_threads=request.recall.across_threads,
        top_k=request.recall.top_k,
        agent_id=request.agent_id,
        counting=counting,
    )


def built_message(built: Built) -> memory_pb2.BuildContextResponse:
    """A context as it goes out."""
    context: Context = built.context
    response = memory_pb2.BuildContextResponse(
        tokens=context.tokens,
        private=built.private,
        counted_by=built.counted_by,
        over_budget=context.over_budget,
        messages=[
            memory_pb2.ContextMessage(
                role=piece.role,
                text=piece.text,
                openai_json=piece.openai_json,
                kind=piece.kind,  # type: ignore[arg-type]
                message_id=piece.message_id,
                tokens=piece.tokens,
            )
            for piece in context.pieces
        ],
        recalled=[
            memory_pb2.BuildContextResponse.Used(
                memory_id=one.memory.memory_id, score=one.score, across_threads=one.across_threads
            )
            for one in context.used
        ],
    )
    for one in context.left_out:
        response.left_out.add(kind=one.kind, count=one.count, tokens=one.tokens, why=one.why)
    if built.summary_missing:
        response.left_out.add(kind=SUMMARY, count=1, why="not_ready")
    return response


def summary_message(one: Summary) -> memory_pb2.Summary:
    """A summary as it goes out."""
    return memory_pb2.Summary(
        text=one.text,
        until_message_id=one.until_message_id,
        messages_covered=one.messages_covered,
        written_by=one.written_by,
        written_at=stamp(one.written_at),
    )
