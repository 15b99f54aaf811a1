"""One call of every RPC of memory, in an order in which each has something to find: for tests of what all must hold.

`STEPS` names each RPC and what it is asked; `uncovered` says which RPCs of the descriptors have no step. Texts begin
with `MARK` and say where they went in, ids that a caller chooses are the same for everybody.
"""

import base64
import dataclasses
import hashlib
import importlib
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

import dac.memory.v1
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.testing import TestProcess
from mesh.transport import reading

MARK = "Zylquorv"
"""In no word of anybody; the tests look for its lower-case form."""
PACKAGE = "dac.memory.v1"
Known = dict[str, Any]
"""What answers told: ids by name."""
Body = Mapping[str, Any]
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def text(where: str) -> str:
    """A text that says where it went in."""
    return f"{MARK}{where} tidings of the Harbouvanting lamps"


def packed(where: str) -> str:
    """The same as bytes of JSON."""
    return base64.b64encode(json.dumps({"choices": [{"message": {"content": text(where)}}]}).encode()).decode()


def print_of(name: str) -> str:
    """32 bytes, as a fingerprint or a scope key."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


@dataclasses.dataclass(frozen=True)
class Step:
    """One RPC and what it is asked."""

    rpc: str
    body: Callable[[Known], Body]
    keep: Callable[[Known, Any], None] = lambda known, answer: None
    refused: tuple[Reason, ...] = ()
    """Refusals that are all right, too."""

    @property
    def name(self) -> str:
        """Service.Method."""
        return self.rpc


def message(role: str, where: str) -> Body:
    """A message with text, and with JSON that holds text."""
    return {
        "role": role,
        "text": text(where),
        "openai_json": json.dumps({"role": role, "content": text(where + "json")}),
    }


def _turn(known: Known, answer: Any) -> None:
    known["question"] = answer.message_ids[0]


def _answered(known: Known, answer: Any) -> None:
    known["answer"] = answer.message_ids[0]


def _edited(known: Known, answer: Any) -> None:
    known["edit"], known["branch"] = answer.message.message_id, answer.branch.branch_id


def _branched(known: Known, answer: Any) -> None:
    known["second"] = answer.branch.branch_id


def _stored(known: Known, answer: Any) -> None:
    assert answer.stored, answer.reason
    known["entry"] = answer.entry_id


def _remembered(known: Known, answer: Any) -> None:
    known["memories"] = [one.memory_id for one in answer.memories]


def _exported(known: Known, answer: Any) -> None:
    known["file"] = json.loads(b"".join(one.data for one in answer))


T = {"thread_id": "t"}
STEPS: tuple[Step, ...] = (
    Step(
        "ConversationService.CreateThread",
        lambda k: {**T, "title": text("title"), "tags": [text("tag")], "parameters": {"note": text("parameter")}},
    ),
    Step(
        "ConversationService.OpenTurn",
        lambda k: {**T, "request_id": "r1", "messages": [message("user", "question")], "max_tokens": 8000},
        _turn,
    ),
    Step(
        "ConversationService.AppendMessages",
        lambda k: {**T, "request_id": "r1", "messages": [message("assistant", "answer")]},
        _answered,
    ),
    Step("ConversationService.UpdateThread", lambda k: {**T, "title": text("newtitle")}),
    Step("ConversationService.GetThread", lambda k: T),
    Step("ConversationService.ListThreads", lambda k: {"search": "tidings"}),
    Step("ConversationService.ListMessages", lambda k: T),
    Step("ConversationService.GetMessage", lambda k: {**T, "message_id": k["question"]}),
    Step(
        "ConversationService.UpdateMessage",
        lambda k: {
            **T,
            "message_id": k["question"],
            "text": text("edit"),
            "branch_name": text("branch"),
            "request_id": "e",
        },
        _edited,
    ),
    Step(
        "ConversationService.CreateBranch",
        lambda k: {**T, "name": text("branchname"), "message_id": k["answer"], "request_id": "b"},
        _branched,
    ),
    Step("ConversationService.ListBranches", lambda k: T),
    Step("ConversationService.GetBranchStats", lambda k: {**T, "branch_id": k["branch"]}),
    Step("ConversationService.ActivateBranch", lambda k: {**T, "branch_id": k["branch"]}),
    Step(
        "ConversationService.MergeBranch",
        lambda k: {**T, "branch_id": k["branch"], "target_branch_id": "main", "request_id": "m"},
    ),
    Step("ConversationService.DeleteMessage", lambda k: {**T, "message_id": k["edit"]}),
    Step("ConversationService.DeleteBranch", lambda k: {**T, "branch_id": k["second"]}),
    Step("ConversationService.CreateThread", lambda k: {"thread_id": "t2", "title": text("secondtitle")}),
    Step("ConversationService.DeleteThread", lambda k: {"thread_id": "t2"}),
    Step("ConversationService.RestoreThread", lambda k: {"thread_id": "t2"}),
    Step(
        "CacheService.Store",
        lambda k: {
            "fingerprint": print_of("asked"),
            "scope_key": print_of("scope"),
            "prompt": text("prompt"),
            "answer": {"openai_json": packed("cached"), "finish_reason": "stop", "model": "mock/m"},
            "quality": 0.9,
        },
        _stored,
    ),
    Step(
        "CacheService.Lookup",
        lambda k: {"fingerprint": print_of("asked"), "scope_key": print_of("scope"), "prompt": text("prompt")},
    ),
    Step("CacheService.GetCacheStatistics", lambda k: {}),
    Step("CacheService.ReportCacheFeedback", lambda k: {"entry_id": k["entry"], "similarity": 0.97, "request_id": "f"}),
    Step("CacheService.PurgeCache", lambda k: {"text": text("purged")}),
    Step(
        "MemoryService.Remember",
        lambda k: {
            "request_id": "rm",
            "memories": [
                {
                    "kind": kind,
                    "text": text(f"memory{number}"),
                    "speaker": text("speaker"),
                    "metadata": {"note": text("metadata")},
                    "pinned": kind == "MEMORY_KIND_FACT",
                }
                for number, kind in enumerate(("MEMORY_KIND_FACT", "MEMORY_KIND_NOTE", "MEMORY_KIND_NOTE"))
            ],
        },
        _remembered,
    ),
    Step("MemoryService.Recall", lambda k: {"query": text("memory1"), "top_k": 20}),
    Step("MemoryService.ListMemories", lambda k: {}),
    Step("MemoryService.GetMemory", lambda k: {"memory_id": k["memories"][0]}),
    Step("MemoryService.UpdateMemory", lambda k: {"memory_id": k["memories"][0], "text": text("newmemory")}),
    Step("MemoryService.GetMemoryHistory", lambda k: {"memory_id": k["memories"][0]}),
    Step("MemoryService.ExportMemories", lambda k: {}),
    Step("MemoryService.GetProfile", lambda k: {}),
    Step(
        "MemoryService.UpdateSummary",
        lambda k: {**T, "text": text("summary"), "until_message_id": k["answer"], "written_by": "mock/m"},
    ),
    Step("MemoryService.GetSummary", lambda k: {**T, "head_message_id": k["answer"]}),
    Step(
        "MemoryService.BuildContext",
        lambda k: {
            **T,
            "request_id": "c",
            "messages": [{"role": "user", "text": text("asked")}],
            "max_tokens": 8000,
            "recall": {"enabled": True, "across_threads": True, "top_k": 20},
        },
    ),
    Step("MemoryService.Embed", lambda k: {"texts": [text("embedded")]}),
    Step("MemoryService.DeleteMemory", lambda k: {"memory_id": k["memories"][1]}),
    Step("MemoryService.DeleteMemories", lambda k: {"filter": {"memory_ids": [k["memories"][2]]}}),
    Step("MemoryService.EraseMemories", lambda k: {"filter": {"memory_ids": [k["memories"][2]]}}),
    Step("VectorService.CreateCollection", lambda k: {"collection": "c"}),
    Step(
        "VectorService.UpsertVectors",
        lambda k: {
            "collection": "c",
            "items": [
                {"id": "i1", "text": text("vector"), "metadata": {"note": text("vectormetadata")}},
                {"id": "i2", "text": text("vector2")},
            ],
        },
    ),
    Step("VectorService.SearchVectors", lambda k: {"collection": "c", "text": text("vector"), "top_k": 20}),
    Step("VectorService.ListCollections", lambda k: {}),
    Step("VectorService.GetCollection", lambda k: {"collection": "c"}),
    Step("VectorService.DeleteVectors", lambda k: {"collection": "c", "ids": ["i2"]}),
    Step("VectorService.ReindexCollection", lambda k: {"collection": "c"}),
    Step("VectorService.GetEmbedder", lambda k: {}),
    Step("VectorService.CreateCollection", lambda k: {"collection": "c2"}),
    Step("VectorService.DeleteCollection", lambda k: {"collection": "c2"}),
    Step("ArchiveService.SearchMessages", lambda k: {"query": "tidings of lamps"}),
    Step("ArchiveService.GetConversationFull", lambda k: T),
    Step(
        "ArchiveService.BatchConversations",
        lambda k: {"operations": [{"create": {"thread_id": "t3", "title": text("batched")}}], "request_id": "ba"},
    ),
    Step("ArchiveService.GetConversationStats", lambda k: {}),
    Step("ArchiveService.ExportConversation", lambda k: {**T, "format": "json"}, _exported),
    Step("ArchiveService.ImportConversation", lambda k: {**k["file"], "thread_id": "t4"}),
    Step("SealingService.GetSealStatus", lambda k: {}),
    Step("SealingService.RotateDataKey", lambda k: {}, refused=(Reason.FAILED_PRECONDITION,)),
    Step("SealingService.RewrapDataKeys", lambda k: {"check_only": True}),
)
LAST = "SealingService.EraseOrganisation"
"""Asked by the tests themselves: nothing is left behind it."""


def methods() -> dict[str, Any]:
    """Every RPC of memory by "Service.Method": its descriptor."""
    found: dict[str, Any] = {}
    for file in sorted(pathlib.Path(next(iter(dac.memory.v1.__path__))).glob("*_pb2.py")):
        module = importlib.import_module(f"{PACKAGE}.{file.stem}")
        for service in module.DESCRIPTOR.services_by_name.values():
            found |= {f"{service.name}.{one.name}": one for one in service.methods}
    return found


def uncovered() -> set[str]:
    """RPCs without a step."""
    return set(methods()) - {one.rpc for one in STEPS} - {LAST}


class Visitor:
    """Somebody who asks memory."""

    def __init__(self, process: TestProcess, org_id: str = "", user_id: str = "", *scopes: str) -> None:
        self.org_id, self.user_id, self.known = org_id or uuid7(), user_id, Known()
        self.ids: set[str] = set()
        """Every id that an answer told."""
        self.answers: dict[str, Any] = {}
        """The last answer of each RPC, as JSON."""
        self._channel = process.channel_to("memory")
        self._principal = Principal(
            kind=Principal.KIND_USER_KEY,
            org_id=self.org_id,
            user_id=user_id,
            key_id="key",
            scopes=scopes or ("chat", "read", "admin", "operator"),
            path=[Level(kind=Level.KIND_ORG, id=self.org_id)],
        )
        signer = process.signers.get("gateway")
        self._proof = signer.sign(self._principal) if signer else b""

    async def ask(self, rpc: str, body: Body) -> Any:
        """One call; a stream's answers as a list. Raises MeshError."""
        service, _, name = rpc.partition(".")
        method = descriptor_pool.Default().FindServiceByName(f"{PACKAGE}.{service}").methods_by_name[name]
        request = ParseDict(dict(body), GetMessageClass(method.input_type)())
        module = importlib.import_module(
            method.containing_service.file.name[: -len(".proto")].replace("/", ".") + "_pb2_grpc"
        )
        call = getattr(getattr(module, f"{service}Stub")(self._channel), name)
        with serving(Call(uuid7(), self._principal, self._proof)):
            if not method.server_streaming:
                answer = await call(request)
            else:
                async with reading(call(request)) as parts:
                    answer = [part async for part in parts]
        return answer

    async def tour(self) -> set[str]:
        """Every step; the RPCs that nobody serves here."""
        here, absent = methods(), set()
        for step in STEPS:
            if step.rpc not in here or step.rpc in absent:
                absent.add(step.rpc)
                continue
            try:
                answer = await self.ask(step.rpc, step.body(self.known))
            except MeshError as error:
                if error.reason is Reason.UNIMPLEMENTED:
                    absent.add(step.rpc)
                    continue
                assert error.reason in step.refused, f"{step.rpc}: {error.message}"
                continue
            step.keep(self.known, answer)
            self.answers[step.rpc] = told = as_json(answer)
            self.ids |= ids_in(told)
        return absent


def as_json(answer: Any) -> str:
    """An answer as JSON; what comes as bytes is read, too."""
    if isinstance(answer, list):
        return "\n".join(one.data.decode() for one in answer)
    said = MessageToDict(answer, preserving_proto_field_name=True)
    cached = said.get("answer", {}).get("openai_json") if isinstance(said.get("answer"), dict) else None
    return json.dumps(said) + (base64.b64decode(cached).decode() if cached else "")


def ids_in(said: str) -> set[str]:
    """Every UUID in an answer."""
    return set(_UUID.findall(said))
