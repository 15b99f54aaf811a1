"""What archives hold, as the messages of dac.memory.v1 and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec
from google.protobuf import json_format, timestamp_pb2
from google.protobuf.message import Message as Form

from dac.memory.v1 import archive_pb2, conversation_pb2
from services.memory import errors
from services.memory.conversations.archive import TreePage
from services.memory.conversations.archive_store import ArchiveStats
from services.memory.conversations.batch import Change, Create, Delete, Restore, Result, Tag, Update
from services.memory.conversations.file import FORMAT, ConversationFile
from services.memory.conversations.form import (
    branch_form,
    change_of,
    message_form,
    parameters_text,
    status_text,
    thread_form,
)
from services.memory.conversations.markdown import linear_in, tree_in
from services.memory.conversations.message_search import Asked, Hit, MessageFilter, Mode
from services.memory.conversations.threads import MAIN, Branch, Thread, ThreadChange
from services.memory.conversations.window import Message

_NO_TREE = (
    "This Markdown carries no tree: one line of messages was imported. Other branches, tool calls, tags, parameters "
    "and ids of requests are not in it."
)
_CHANGED = (
    "What stands before the comment at the end of this Markdown was changed since it was exported: the comment was "
    "imported, not the change. Take the comment away to import what is to be read."
)


class ProtoEncoder:
    """Parts of a file as protobuf's JSON."""

    def thread(self, thread: Thread) -> str:
        """See Encoder."""
        return _json(thread_form(thread))

    def branch(self, branch: Branch) -> str:
        """See Encoder."""
        return _json(branch_form(branch))

    def message(self, message: Message) -> str:
        """See Encoder."""
        return _json(message_form(message))


def _json(form: Form) -> str:
    document = json_format.MessageToDict(form, preserving_proto_field_name=True)
    return msgspec.json.encode(document).decode()


def file_of(request: archive_pb2.ImportConversationRequest) -> ConversationFile:
    """The file that a request brings. Raises INVALID_REQUEST."""
    if not request.markdown:
        if not request.format and not request.messages and not request.HasField("thread"):
            raise errors.invalid("markdown", "or an exported file must be there")
        return _file(request)
    if request.messages or request.branches or request.HasField("thread"):
        raise errors.invalid("markdown", "cannot stand beside messages: send one of them")
    block = tree_in(request.markdown)
    if block is not None:
        document, is_unchanged = block
        held = archive_pb2.ImportConversationRequest()
        try:
            json_format.Parse(document, held)
        except (json_format.ParseError, ValueError, RecursionError) as error:
            raise errors.invalid("markdown", f"the comment at its end does not fit: {str(error)[:200]}") from None
        if held.markdown:
            raise errors.invalid("markdown", "the comment at its end is no conversation")
        return _file(held, () if is_unchanged else (_CHANGED,))
    linear = linear_in(request.markdown)
    if not linear.messages:
        raise errors.invalid("markdown", 'has no message: a line "## User" or "## Assistant" begins one')
    thread = Thread("", linear.title, 0, _now(), _now())
    return ConversationFile(thread, (), linear.messages, (_NO_TREE,))


def _file(request: archive_pb2.ImportConversationRequest, notes: Sequence[str] = ()) -> ConversationFile:
    if request.format != FORMAT:
        raise errors.invalid("format", f'"{request.format[:40]}" is not known; this DAC reads "{FORMAT}"')
    form = request.thread
    created_at = _moment(form.created_at) if form.HasField("created_at") else _now()
    thread = Thread(
        form.thread_id or form.conversation_id,
        form.title,
        0,
        created_at,
        _moment(form.updated_at) if form.HasField("updated_at") else created_at,
        tags=tuple(form.tags),
        model=form.model,
        parameters=parameters_text(form.parameters),
        active_branch=form.active_branch_id or MAIN,
        agent_id=form.agent_id,
    )
    branches = [
        Branch(
            one.branch_id,
            one.name,
            head=one.head_message_id,
            forked_from=one.forked_from_message_id,
            created_at=_moment(one.created_at) if one.HasField("created_at") else created_at,
            updated_at=_moment(one.updated_at) if one.HasField("updated_at") else created_at,
        )
        for one in request.branches
    ]
    return ConversationFile(
        thread, branches, [_message(one, place) for place, one in enumerate(request.messages)], notes
    )


def _message(form: conversation_pb2.Message, position: int) -> Message:
    return Message(
        message_id=form.message_id,
        thread_id=form.thread_id,
        role=form.role,
        text=form.text,
        openai_json=form.openai_json,
        tokens_estimated=form.tokens_estimated,
        request_id=form.request_id,
        model=form.model,
        position=position,
        created_at_s=_moment(form.created_at).timestamp() if form.HasField("created_at") else 0.0,
        parent_id=form.parent_message_id,
        branch_id=form.branch_id or MAIN,
        status=status_text(form.status),
        finish_reason=form.finish_reason,
        replaces=form.replaces_message_id,
        copied_from=form.copied_from_message_id,
        deleted_at_s=_moment(form.deleted_at).timestamp() if form.HasField("deleted_at") else 0.0,
    )


def _moment(stamp: timestamp_pb2.Timestamp) -> dt.datetime:
    try:
        return stamp.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid("created_at", "is no time that a calendar can say") from None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def asked_of(request: archive_pb2.SearchMessagesRequest, thread_id: str) -> Asked:
    """What a search looks for. Raises INVALID_REQUEST."""
    if request.mode not in _MODES:
        raise errors.invalid("mode", f"{request.mode} is none: say {', '.join(archive_pb2.SearchMode.keys()[1:])}")
    return Asked(
        request.query,
        MessageFilter(
            thread_id,
            tuple(request.role),
            tuple(request.model),
            tuple(request.tag),
            _moment(request.start_at) if request.HasField("start_at") else None,
            _moment(request.end_at) if request.HasField("end_at") else None,
            request.user_id,
        ),
        _MODES[request.mode],
        request.all_words,
        request.page_size,
        request.page_token,
    )


_MODES = {
    archive_pb2.SEARCH_MODE_UNSPECIFIED: Mode.BOTH,
    archive_pb2.SEARCH_MODE_WORDS: Mode.WORDS,
    archive_pb2.SEARCH_MODE_MEANING: Mode.MEANING,
}


def hit_form(hit: Hit) -> archive_pb2.SearchHit:
    """A found message on the wire."""
    return archive_pb2.SearchHit(
        message=message_form(hit.message),
        thread_title=hit.thread_title,
        score=hit.score,
        word_score=hit.word_score,
        meaning_score=hit.meaning_score,
        snippets=[
            archive_pb2.Snippet(
                text=one.text,
                found=[archive_pb2.Snippet.Span(start=start, end=end) for start, end in one.found],
                offset=one.offset,
            )
            for one in hit.snippets
        ],
    )


def tree_form(page: TreePage) -> archive_pb2.GetConversationFullResponse:
    """A page of a tree on the wire."""
    return archive_pb2.GetConversationFullResponse(
        thread=thread_form(page.thread),
        branches=map(branch_form, page.branches),
        root_message_ids=page.roots,
        nodes=[
            archive_pb2.MessageNode(
                message=message_form(one.message),
                child_message_ids=one.children,
                depth=one.depth,
                active=one.active,
                head_of_branch_ids=one.head_of,
            )
            for one in page.nodes
        ],
        next_page_token=page.next_page_token,
    )


def stats_form(stats: ArchiveStats) -> archive_pb2.GetConversationStatsResponse:
    """Counts on the wire."""
    return archive_pb2.GetConversationStatsResponse(
        threads=stats.threads,
        deleted_threads=stats.deleted_threads,
        messages=stats.messages,
        partial_messages=stats.partial_messages,
        branches=stats.branches,
        tokens_estimated=stats.tokens_estimated,
        roles=_counts(stats.roles),
        models=_counts(stats.models),
        tags=_counts(stats.tags),
        first_message_at=stats.first_at,
        last_message_at=stats.last_at,
    )


def _counts(pairs: Sequence[tuple[str, int]]) -> list[archive_pb2.NamedCount]:
    return [archive_pb2.NamedCount(name=name, count=count) for name, count in pairs]


def change_in(operation: archive_pb2.BatchOperation, place: int) -> Change:
    """One change of a batch. Raises INVALID_REQUEST."""
    match operation.WhichOneof("change"):
        case "create":
            one = operation.create
            named = ThreadChange(one.title, tuple(one.tags), one.model, parameters_text(one.parameters))
            return Create(one.thread_id or one.conversation_id, named)
        case "update":
            return Update(operation.update.thread_id, change_of(operation.update))
        case "delete":
            return Delete(operation.delete.thread_id, operation.delete.erase)
        case "restore":
            return Restore(operation.restore.thread_id)
        case "tag":
            return Tag(operation.tag.thread_id, tuple(operation.tag.add), tuple(operation.tag.remove))
        case _:
            raise errors.invalid(f"operations[{place}]", "says none of create, update, delete, restore, tag")


def result_form(result: Result) -> archive_pb2.BatchResult:
    """What became of one change, on the wire."""
    return archive_pb2.BatchResult(
        thread_id=result.thread_id,
        thread=thread_form(result.thread) if result.thread else None,
        error=archive_pb2.BatchError(reason=result.reason, message=result.message) if result.reason else None,
    )
