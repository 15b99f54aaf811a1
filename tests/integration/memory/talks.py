"""Threads as their callers see them: the servicer on a real database, asked as one principal."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from dac.memory.v1 import conversation_pb2 as pb
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.server import ConversationServicer
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.conversations.turn_listeners import TurnListener
from services.memory.sealing.sealing import Sealer

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROOT = "00000000-0000-0000-0000-000000000000"


class Talks:
    """One thread's words, short enough for tests; `ask` is any RPC."""

    def __init__(
        self,
        database: Database,
        org_id: str,
        *,
        config: MemoryConfig | None = None,
        sealer: Sealer | None = None,
        listeners: Sequence[TurnListener] = (),
        thread_id: str = "t",
    ) -> None:
        self.database, self.now, self.thread_id = database, START, thread_id
        self.principal = Principal(org_id=org_id, scopes=["chat", "read"])
        self.servicer = ConversationServicer(
            Conversations(
                ThreadDatabase(database, sealer=sealer, listeners=listeners),
                config or MemoryConfig(),
                clock=lambda: self.now,
                new_id=uuid7,
            )
        )

    def seen_by(self, *scopes: str, user_id: str = "") -> "Talks":
        """The same service, asked by another caller of the organisation."""
        other = object.__new__(Talks)
        other.__dict__ |= self.__dict__
        other.principal = Principal(org_id=self.principal.org_id, scopes=scopes or ["chat"], user_id=user_id)
        return other

    async def ask(self, method: str, **fields: Any) -> Any:
        """An RPC, of this thread when it has one."""
        request = getattr(pb, f"{method}Request")
        if "thread_id" in request.DESCRIPTOR.fields_by_name:
            fields.setdefault("thread_id", self.thread_id)
        with serving(Call(principal=self.principal)):
            return await getattr(self.servicer, method)(request(**fields), None)

    async def turn(self, text: str, *, request_id: str = "", role: str = "user", **fields: Any) -> Any:
        """OpenTurn with one message."""
        message = pb.Message(role=role, text=text, replaces_message_id=fields.pop("replaces", ""))
        return await self.ask("OpenTurn", messages=[message], request_id=request_id or uuid7(), **fields)

    async def answer(self, text: str, request_id: str, **fields: Any) -> Any:
        """AppendMessages with one answer."""
        own = {name: fields.pop(name) for name in ("status", "finish_reason", "replaces_message_id") if name in fields}
        message = pb.Message(role="assistant", text=text, model="mock/a", **own)
        return await self.ask("AppendMessages", messages=[message], request_id=request_id, **fields)

    async def say(self, *texts: str) -> list[str]:
        """Questions with their answers, alternately; the messages' ids."""
        ids: list[str] = []
        for question, answer in zip(texts[::2], texts[1::2], strict=True):
            request_id = uuid7()
            ids += (await self.turn(question, request_id=request_id)).message_ids
            ids += (await self.answer(answer, request_id)).message_ids
        return ids

    async def messages(self, branch_id: str = "", **fields: Any) -> list[Any]:
        """All messages of a branch, page by page."""
        found: list[Any] = []
        token = ""
        while True:
            page = await self.ask("ListMessages", branch_id=branch_id, page_size=3, page_token=token, **fields)
            found += page.messages
            token = page.next_page_token
            if not token:
                return found

    async def texts(self, branch_id: str = "", **fields: Any) -> list[str]:
        """Their texts."""
        return [one.text for one in await self.messages(branch_id, **fields)]

    async def branches(self) -> dict[str, Any]:
        """Branches by name."""
        return {one.name: one for one in (await self.ask("ListBranches")).branches}

    async def window(self, **fields: Any) -> list[str]:
        """What a turn would take along, without saving it."""
        return [one.text for one in (await self.ask("OpenTurn", **fields)).window]
