"""The tree against a plain model: whatever is done in whatever order, nothing is lost, doubled or forked."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mesh.ids import uuid7
from mesh.postgres import Database
from tests.conftest import Migrated
from tests.integration.memory.talks import ROOT, Talks

PICK = st.integers(0, 10**6)


@dataclasses.dataclass
class Said:
    text: str
    parent: str
    origin: str
    deleted: bool = False


class Model:
    """What a thread should be, by the rules of the documentation and nothing else."""

    def __init__(self) -> None:
        self.said: dict[str, Said] = {}
        self.heads: dict[str, str] = {"main": ""}
        self.active = "main"

    def line(self, branch: str) -> list[str]:
        found: list[str] = []
        at = self.heads[branch]
        while at:
            found.insert(0, at)
            at = self.said[at].parent
        return found

    def seen(self, branch: str) -> list[str]:
        return [self.said[one].text for one in self.line(branch) if not self.said[one].deleted]

    def living(self) -> list[str]:
        return [one for one, said in self.said.items() if not said.deleted]

    def append(self, branch: str, message_id: str, text: str, origin: str = "") -> None:
        self.said[message_id] = Said(text, self.heads[branch], origin or message_id)
        self.heads[branch] = message_id

    def fork(self, branch: str, parent: str) -> None:
        self.heads[branch] = parent
        self.active = branch

    def continued(self, parent: str) -> str:
        """The branch that goes on from a message; empty = a new one."""
        there = [branch for branch, head in self.heads.items() if head == parent]
        first = [self.active] if self.active in there else ["main"] if "main" in there else there
        return first[0] if first else ""

    def forget(self, gone: set[str]) -> None:
        def kept(one: str) -> str:
            while one in gone:
                one = self.said[one].parent
            return one

        for said in self.said.values():
            said.parent = kept(said.parent)
        self.heads = {branch: kept(head) for branch, head in self.heads.items()}
        for one in gone:
            del self.said[one]
        self.settle()

    def settle(self) -> None:
        """No branch ends with a deleted message."""
        for branch, head in self.heads.items():
            while head and self.said[head].deleted:
                head = self.said[head].parent
            self.heads[branch] = head


class Conversation(RuleBasedStateMachine):
    """One thread of a fresh organisation."""

    runner: asyncio.Runner
    database: Database

    @initialize()
    def begin(self) -> None:
        self.model, self.count = Model(), itertools.count()
        self.talks = Talks(self.database, uuid7())
        self.again: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        self.do(self.talks.ask("CreateThread"))

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def text(self) -> str:
        return f"m{next(self.count)}"

    def pick(self, number: int) -> str:
        living = self.model.living()
        return living[number % len(living)]

    def branch(self, number: int) -> str:
        branches = list(self.model.heads)
        return branches[number % len(branches)]

    @rule()
    def turn(self) -> None:
        question, answer, request_id = self.text(), self.text(), uuid7()
        before = self.model.seen(self.model.active)[-100:]

        async def work() -> Any:
            opened = await self.talks.turn(question, request_id=request_id)
            return opened, await self.talks.answer(answer, request_id)

        opened, answered = self.do(work())
        assert [one.text for one in opened.window] == before
        self.model.append(self.model.active, opened.message_ids[0], question)
        self.model.append(self.model.active, answered.message_ids[0], answer)
        self.again.append(work)

    @precondition(lambda self: self.model.living())
    @rule(number=PICK, root=st.booleans())
    def turn_at(self, number: int, root: bool) -> None:
        text, request_id, parent = self.text(), uuid7(), "" if root else self.pick(number)

        async def work() -> Any:
            return await self.talks.turn(text, request_id=request_id, parent_message_id=parent or ROOT)

        opened = self.do(work())
        continued = self.model.continued(parent)
        assert (opened.branch_id == continued) if continued else opened.branch_id not in self.model.heads
        if not continued:
            self.model.fork(opened.branch_id, parent)
        self.model.append(opened.branch_id, opened.message_ids[0], text)
        self.again.append(work)

    @precondition(lambda self: self.model.living())
    @rule(number=PICK)
    def edit(self, number: int) -> None:
        text, request_id, old = self.text(), uuid7(), self.pick(number)

        async def work() -> Any:
            return await self.talks.ask("UpdateMessage", message_id=old, text=text, request_id=request_id)

        edited = self.do(work())
        self.model.fork(edited.branch.branch_id, self.model.said[old].parent)
        self.model.append(edited.branch.branch_id, edited.message.message_id, text)
        self.again.append(work)

    @precondition(lambda self: self.model.living())
    @rule(number=PICK, activate=st.booleans())
    def create_branch(self, number: int, activate: bool) -> None:
        head, request_id = self.pick(number), uuid7()

        async def work() -> Any:
            return await self.talks.ask("CreateBranch", message_id=head, activate=activate, request_id=request_id)

        made = self.do(work()).branch.branch_id
        self.model.heads[made] = head
        self.model.active = made if activate else self.model.active
        self.again.append(work)

    @rule(number=PICK)
    def activate(self, number: int) -> None:
        self.model.active = self.branch(number)
        self.do(self.talks.ask("ActivateBranch", branch_id=self.model.active))

    @rule(source=PICK, into=PICK)
    def merge(self, source: int, into: int) -> None:
        origin, goal, request_id = self.branch(source), self.branch(into), uuid7()
        if origin == goal:
            return

        async def work() -> Any:
            return await self.talks.ask("MergeBranch", branch_id=origin, target_branch_id=goal, request_id=request_id)

        model = self.model
        there = {model.said[one].origin for one in model.line(goal)} | set(model.line(goal))
        own = [one for one in model.line(origin) if not model.said[one].deleted and model.said[one].origin not in there]
        ids = self.do(work()).message_ids
        assert len(ids) == len(own)
        for copy, one in zip(ids, own, strict=True):
            model.append(goal, copy, model.said[one].text, model.said[one].origin)
        assert self.do(work()).message_ids == ids

    @precondition(lambda self: self.model.living())
    @rule(number=PICK, erase=st.booleans())
    def delete_message(self, number: int, erase: bool) -> None:
        one = self.pick(number)
        self.do(self.talks.ask("DeleteMessage", message_id=one, erase=erase))
        if erase:
            origin = self.model.said[one].origin
            self.model.forget({each for each, said in self.model.said.items() if said.origin == origin})
        else:
            self.model.said[one].deleted = True
            self.model.settle()
        self.again.clear()

    @rule(number=PICK)
    def delete_branch(self, number: int) -> None:
        branch = self.branch(number)
        if branch == "main":
            return
        self.do(self.talks.ask("DeleteBranch", branch_id=branch))
        del self.model.heads[branch]
        self.model.active = "main" if self.model.active == branch else self.model.active
        self.again.clear()

    @rule(writers=st.integers(2, 4))
    def write_at_once(self, writers: int) -> None:
        texts = [self.text() for _ in range(writers)]

        async def work() -> list[Any]:
            return await asyncio.gather(*(self.talks.turn(text, request_id=text) for text in (*texts, texts[0])))

        opened = self.do(work())
        ids = {one.message_ids[0]: text for one, text in zip(opened, texts, strict=False)}
        order = self.do(self.talks.messages(self.model.active))[-writers:]
        assert {one.message_id: one.text for one in order} == ids, "in a row, each once"
        for one in order:
            self.model.append(self.model.active, one.message_id, one.text)
        self.again.append(work)

    @precondition(lambda self: self.again)
    @rule(number=PICK)
    def retry(self, number: int) -> None:
        """Whatever was asked before, asked again with the same request id, changes nothing."""
        self.do(self.again[number % len(self.again)]())

    @invariant()
    def is_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        self.do(self.compare())

    async def compare(self) -> None:
        model, talks = self.model, self.talks
        branches = (await talks.ask("ListBranches")).branches
        assert {one.branch_id: one.head_message_id for one in branches} == model.heads
        assert [one.branch_id for one in branches if one.active] == [model.active]
        for branch in model.heads:
            assert await talks.texts(branch) == model.seen(branch)
        everything = await talks.messages(all=True, include_deleted=True)
        assert {one.message_id: (one.text, one.parent_message_id) for one in everything} == {
            one: (said.text, said.parent) for one, said in model.said.items()
        }
        assert (await talks.ask("GetThread")).thread.message_count == len(model.living())
        assert await talks.window() == model.seen(model.active)[-100:]


def test_any_history_is_what_a_plain_model_says(migrated: Migrated) -> None:
    with asyncio.Runner() as runner:
        database = Database(migrated.dsn("memory"), "memory")
        runner.run(database.open())
        machine = type("Machine", (Conversation,), {"runner": runner, "database": database})
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=12,
                    stateful_step_count=20,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(database.close())
