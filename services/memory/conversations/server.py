"""ConversationService: proto in, threads and their trees, proto out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dac.memory.v1 import conversation_pb2, conversation_pb2_grpc
from mesh.call import Call, current
from mesh.turn_limits import check_messages_at_once
from services.memory import errors
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.form import (
    branch_form,
    change_of,
    message_form,
    parameters_text,
    stats_form,
    status_text,
    thread_form,
)
from services.memory.conversations.input import NewMessage
from services.memory.conversations.threads import Thread, ThreadFilter
from services.memory.viewers import viewer


class ConversationServicer(conversation_pb2_grpc.ConversationServiceServicer):
    """Threads, messages and branches."""

    def __init__(
        self, conversations: Conversations, answered: Callable[[Thread, Call], None] = lambda thread, caller: None
    ) -> None:
        """`answered` is told of each whole answer that was saved, and by which call."""
        self._conversations, self._answered = conversations, answered

    async def CreateThread(
        self, request: conversation_pb2.CreateThreadRequest, context: Any
    ) -> conversation_pb2.CreateThreadResponse:
        """See ConversationService.CreateThread."""
        thread = await self._conversations.create(
            viewer(),
            _either("conversation_id", request.conversation_id, request.thread_id),
            request.title,
            tags=request.tags,
            model=request.model,
            parameters=parameters_text(request.parameters) if request.HasField("parameters") else "",
            agent_id=request.agent_id,
        )
        return conversation_pb2.CreateThreadResponse(thread=thread_form(thread))

    async def GetThread(
        self, request: conversation_pb2.GetThreadRequest, context: Any
    ) -> conversation_pb2.GetThreadResponse:
        """See ConversationService.GetThread."""
        thread = await self._conversations.get(viewer(), request.thread_id)
        return conversation_pb2.GetThreadResponse(thread=thread_form(thread))

    async def ListThreads(
        self, request: conversation_pb2.ListThreadsRequest, context: Any
    ) -> conversation_pb2.ListThreadsResponse:
        """See ConversationService.ListThreads."""
        wanted = ThreadFilter(tuple(request.tag), request.search, request.model, request.deleted, request.user_id)
        page, token = await self._conversations.list_threads(viewer(), wanted, request.page_size, request.page_token)
        return conversation_pb2.ListThreadsResponse(threads=map(thread_form, page), next_page_token=token)

    async def UpdateThread(
        self, request: conversation_pb2.UpdateThreadRequest, context: Any
    ) -> conversation_pb2.UpdateThreadResponse:
        """See ConversationService.UpdateThread."""
        change = change_of(request)
        thread = await self._conversations.update(viewer(), request.thread_id, change)
        return conversation_pb2.UpdateThreadResponse(thread=thread_form(thread))

    async def DeleteThread(
        self, request: conversation_pb2.DeleteThreadRequest, context: Any
    ) -> conversation_pb2.DeleteThreadResponse:
        """See ConversationService.DeleteThread."""
        await self._conversations.delete(viewer(), request.thread_id, erase=request.erase)
        return conversation_pb2.DeleteThreadResponse()

    async def RestoreThread(
        self, request: conversation_pb2.RestoreThreadRequest, context: Any
    ) -> conversation_pb2.RestoreThreadResponse:
        """See ConversationService.RestoreThread."""
        thread = await self._conversations.restore(viewer(), request.thread_id)
        return conversation_pb2.RestoreThreadResponse(thread=thread_form(thread))

    async def ListMessages(
        self, request: conversation_pb2.ListMessagesRequest, context: Any
    ) -> conversation_pb2.ListMessagesResponse:
        """See ConversationService.ListMessages."""
        if request.all and request.branch_id:
            raise errors.invalid("branch_id", "says one branch and all says every one: leave one of them out")
        page, token = await self._conversations.list_messages(
            viewer(),
            request.thread_id,
            request.page_size,
            request.page_token,
            branch_id=request.branch_id,
            everything=request.all,
            deleted=request.include_deleted,
        )
        return conversation_pb2.ListMessagesResponse(messages=map(message_form, page), next_page_token=token)

    async def GetMessage(
        self, request: conversation_pb2.GetMessageRequest, context: Any
    ) -> conversation_pb2.GetMessageResponse:
        """See ConversationService.GetMessage."""
        message, siblings = await self._conversations.get_message(viewer(), request.thread_id, request.message_id)
        return conversation_pb2.GetMessageResponse(message=message_form(message), sibling_message_ids=siblings)

    async def UpdateMessage(
        self, request: conversation_pb2.UpdateMessageRequest, context: Any
    ) -> conversation_pb2.UpdateMessageResponse:
        """See ConversationService.UpdateMessage."""
        text = _either("content", request.content, request.text)
        if not text and not request.openai_json:
            raise errors.invalid("text", "must say the new text; DELETE takes a message away")
        # The role is the old message's.
        edited = NewMessage("user", text, request.openai_json, replaces=request.message_id)
        message, branch = await self._conversations.edit(
            viewer(), request.thread_id, request.request_id, edited, request.branch_name
        )
        return conversation_pb2.UpdateMessageResponse(message=message_form(message), branch=branch_form(branch))

    async def DeleteMessage(
        self, request: conversation_pb2.DeleteMessageRequest, context: Any
    ) -> conversation_pb2.DeleteMessageResponse:
        """See ConversationService.DeleteMessage."""
        await self._conversations.delete_message(viewer(), request.thread_id, request.message_id, erase=request.erase)
        return conversation_pb2.DeleteMessageResponse()

    async def ListBranches(
        self, request: conversation_pb2.ListBranchesRequest, context: Any
    ) -> conversation_pb2.ListBranchesResponse:
        """See ConversationService.ListBranches."""
        branches = await self._conversations.list_branches(viewer(), request.thread_id)
        return conversation_pb2.ListBranchesResponse(branches=map(branch_form, branches))

    async def CreateBranch(
        self, request: conversation_pb2.CreateBranchRequest, context: Any
    ) -> conversation_pb2.CreateBranchResponse:
        """See ConversationService.CreateBranch."""
        branch = await self._conversations.create_branch(
            viewer(),
            request.thread_id,
            request.name,
            _either("parent_message_id", request.parent_message_id, request.message_id),
            request.request_id,
            activate=request.activate,
        )
        return conversation_pb2.CreateBranchResponse(branch=branch_form(branch))

    async def ActivateBranch(
        self, request: conversation_pb2.ActivateBranchRequest, context: Any
    ) -> conversation_pb2.ActivateBranchResponse:
        """See ConversationService.ActivateBranch."""
        branch = await self._conversations.activate_branch(viewer(), request.thread_id, request.branch_id)
        return conversation_pb2.ActivateBranchResponse(branch=branch_form(branch))

    async def MergeBranch(
        self, request: conversation_pb2.MergeBranchRequest, context: Any
    ) -> conversation_pb2.MergeBranchResponse:
        """See ConversationService.MergeBranch."""
        branch, ids = await self._conversations.merge_branch(
            viewer(),
            request.thread_id,
            request.branch_id,
            request.target_branch_id,
            request.request_id,
            fast_forward=request.policy == conversation_pb2.MERGE_POLICY_FAST_FORWARD,
        )
        return conversation_pb2.MergeBranchResponse(branch=branch_form(branch), message_ids=ids)

    async def GetBranchStats(
        self, request: conversation_pb2.GetBranchStatsRequest, context: Any
    ) -> conversation_pb2.GetBranchStatsResponse:
        """See ConversationService.GetBranchStats."""
        return stats_form(await self._conversations.branch_stats(viewer(), request.thread_id, request.branch_id))

    async def DeleteBranch(
        self, request: conversation_pb2.DeleteBranchRequest, context: Any
    ) -> conversation_pb2.DeleteBranchResponse:
        """See ConversationService.DeleteBranch."""
        await self._conversations.delete_branch(viewer(), request.thread_id, request.branch_id, erase=request.erase)
        return conversation_pb2.DeleteBranchResponse()

    async def AppendMessages(
        self, request: conversation_pb2.AppendMessagesRequest, context: Any
    ) -> conversation_pb2.AppendMessagesResponse:
        """See ConversationService.AppendMessages."""
        check_messages_at_once(len(request.messages))
        saved = await self._conversations.append(
            viewer(),
            request.thread_id,
            request.request_id,
            _new(request.messages),
            parent_id=request.parent_message_id,
            branch_id=request.branch_id,
        )
        if any(map(_is_answer, request.messages)):
            self._answered(saved.thread, current())
        return conversation_pb2.AppendMessagesResponse(message_ids=saved.message_ids, branch_id=saved.branch_id)

    async def OpenTurn(
        self, request: conversation_pb2.OpenTurnRequest, context: Any
    ) -> conversation_pb2.OpenTurnResponse:
        """See ConversationService.OpenTurn."""
        check_messages_at_once(len(request.messages))
        opened = await self._conversations.open_turn(
            viewer(),
            request.thread_id,
            request.request_id,
            _new(request.messages),
            max_tokens=request.max_tokens,
            max_messages=request.max_messages,
            parent_id=request.parent_message_id,
            branch_id=request.branch_id,
            agent_id=request.agent_id,
        )
        saved = opened.saved
        return conversation_pb2.OpenTurnResponse(
            window=map(message_form, opened.window),
            window_tokens=opened.window_tokens,
            message_ids=saved.message_ids if saved else (),
            branch_id=saved.branch_id if saved else "",
            thread=thread_form(saved.thread) if saved else None,
        )


def _either(name: str, alias: str, value: str) -> str:
    """A field that has two names. Raises INVALID_REQUEST when they say different things."""
    if alias and value and alias != value:
        raise errors.invalid(name, "says something else than the field that it is another name of: send one of them")
    return value or alias


def _is_answer(message: conversation_pb2.Message) -> bool:
    """Whether it is a whole answer."""
    return message.role == "assistant" and message.status != conversation_pb2.Message.STATUS_PARTIAL


def _new(messages: Iterable[conversation_pb2.Message]) -> list[NewMessage]:
    return [
        NewMessage(
            one.role,
            one.text,
            one.openai_json,
            one.tokens_estimated,
            one.model,
            status_text(one.status),
            one.finish_reason,
            one.replaces_message_id,
            one.message_id,
        )
        for one in messages
    ]
