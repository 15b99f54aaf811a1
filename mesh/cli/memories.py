"""`dac memory list`, `search`, `add`, `show`, `forget`, `export`: what DAC remembers, one memory at a time or many."""

import pathlib
import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, one_of, segment
from mesh.cli.output import AsJson, Url, clean, command, confirm, enum_word, local_time, note, print_json, table

app = typer.Typer(
    help="What is remembered; and text at rest: how much is sealed, a new data key, erasing everything.",
    no_args_is_help=True,
)
KINDS = ("turn", "fact", "note")
_PATH = "/v1/memories"
_SHOWN_CHARS = 100
User = Annotated[str, typer.Option("--user", help="Only this user's (for administrators).")]
Agent = Annotated[str, typer.Option("--agent", help="Only this agent's.")]
Thread = Annotated[str, typer.Option("--thread", help="Only of this conversation.")]
Kind = Annotated[list[str] | None, typer.Option("--kind", help="turn, fact or note; may be said more than once.")]


def filter_of(user: str, agent: str, thread: str, kinds: list[str] | None) -> dict[str, Any]:
    """A MemoryFilter of what was said. Raises Failure."""
    wanted = {"user_id": user, "agent_id": agent, "thread_id": thread}
    found: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    if kinds:
        found["kinds"] = [f"MEMORY_KIND_{one_of('--kind', kind, KINDS).upper()}" for kind in kinds]
    return found


def _query(wanted: dict[str, Any]) -> list[tuple[str, object]]:
    """A filter as a query says it."""
    pairs: list[tuple[str, object]] = []
    for name, value in wanted.items():
        pairs += [(f"filter.{name}", one) for one in (value if isinstance(value, list) else [value])]
    return pairs


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    said = " ".join(str(one.get("text")).split())
    text = f"{one['speaker']}: {said}" if one.get("speaker") else said
    kind = enum_word(one.get("kind"), "MEMORY_KIND_") + (", pinned" if one.get("pinned") else "")
    shown = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return one.get("memory_id"), kind, local_time(one.get("occurred_at")), shown


@command(app, "list")
def list_memories(
    user: User = "",
    agent: Agent = "",
    thread: Thread = "",
    kind: Kind = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List what is remembered, newest first.

    Example: dac memory list --kind fact
    """
    query = [*_query(filter_of(user, agent, thread, kind)), ("page_size", limit)]
    answer = Client(url).call("GET", _PATH, query=query)
    if as_json:
        print_json({"memories": answer.get("memories") or [], "next_page_token": answer.get("next_page_token", "")})
        return
    table(("id", "kind", "when", "what"), [_row(one) for one in answer.get("memories") or []])
    if answer.get("next_page_token"):
        note("there is more: narrow it, or a larger --limit")


@command(app, "search")
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    user: User = "",
    agent: Agent = "",
    thread: Thread = "",
    kind: Kind = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many at most.")] = 10,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Find memories by their words and, where DAC has an embedder, by their meaning; the best first.

    Example: dac memory search "where does Ada live"
    """
    body = {"query": query, "top_k": limit, "filter": filter_of(user, agent, thread, kind)}
    answer = Client(url).call("POST", f"{_PATH}/search", body)
    if as_json:
        print_json(answer)
        return
    rows = [(*_row(one["memory"]), f"{float(one.get('score') or 0):.2f}") for one in answer.get("memories") or []]
    table(("id", "kind", "when", "what", "score"), rows, right=(4,))
    if int(answer.get("not_embedded") or 0):
        note(f"{answer['not_embedded']} memories have no vector yet and are found by their words alone")


@command(app, "add")
def add(
    text: Annotated[str, typer.Argument(help="What to remember; - = standard input.")],
    fact: Annotated[bool, typer.Option("--fact", help="A statement that holds, not a note.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="Always part of a context while it holds.")] = False,
    replaces: Annotated[list[str] | None, typer.Option("--replaces", help="Id of a fact that it replaces.")] = None,
    valid_from: Annotated[str, typer.Option("--from", help="A fact: since when it holds (RFC 3339).")] = "",
    user: Annotated[str, typer.Option("--user", help="Whose it is (for administrators).")] = "",
    agent: Annotated[str, typer.Option("--agent", help="The agent that it is for.")] = "",
    thread: Annotated[str, typer.Option("--thread", help="The conversation that it belongs to.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Remember something: a note, or with --fact a statement that may be replaced later.

    Example: dac memory add --fact --pinned "Ada lives in Bergen"
    """
    said = sys.stdin.read() if text == "-" else text
    new: dict[str, Any] = {"kind": "MEMORY_KIND_FACT" if fact else "MEMORY_KIND_NOTE", "text": said, "pinned": pinned}
    given = {"user_id": user, "agent_id": agent, "thread_id": thread, "valid_from": valid_from, "supersedes": replaces}
    new |= {name: value for name, value in given.items() if value}
    if not fact and (replaces or valid_from):
        raise Failure("only facts are replaced and hold since some time: say --fact as well", USAGE)
    answer = Client(url).call("POST", _PATH, {"memories": [new]})
    if as_json:
        print_json(answer)
        return
    (kept,) = answer["memories"]
    why = "" if kept.get("stored") else f" (not kept again: {enum_word(kept.get('why'), '')})"
    print(f"{kept.get('memory_id') or '-'}{why}")


@command(app, "show")
def show(
    memory_id: Annotated[str, typer.Argument(help="The memory's id (dac memory list).")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a memory whole, with what happened to it.

    Example: dac memory show 01a2…
    """
    client, path = Client(url), f"{_PATH}/{segment(memory_id)}"
    changes = client.call("GET", f"{path}/history").get("changes") or []
    deleted = bool(changes) and changes[-1].get("action") == "deleted"
    one = None if deleted else client.call("GET", path)["memory"]
    if as_json:
        print_json({"memory": one, "changes": changes})
        return
    if one is None:
        note("this memory is deleted: only when, and by whom, is left of it")
    else:
        print(clean(one.get("text")))
        facts = {name: value for name, value in one.items() if value and name != "text"}
        table(("what", "value"), [(name, _plain(value)) for name, value in facts.items()])
    rows = [(local_time(each.get("changed_at")), each.get("action"), each.get("key_id") or "DAC") for each in changes]
    table(("when", "what happened", "by"), rows)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@command(app, "forget")
def forget(
    memory_ids: Annotated[list[str] | None, typer.Argument(help="Ids of memories (dac memory list).")] = None,
    user: User = "",
    agent: Agent = "",
    thread: Thread = "",
    kind: Kind = None,
    everything: Annotated[bool, typer.Option("--everything", help="All of this key's memories.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Erase memories for good, with their history: by id, or all that fit what is said. Nothing finds them afterwards.

    Example: dac memory forget --user ada --yes
    """
    wanted = filter_of(user, agent, thread, kind)
    if memory_ids:
        wanted["memory_ids"] = memory_ids
    if bool(wanted) == everything:
        raise Failure("say which: ids, or --user, --agent, --thread, --kind; or --everything alone", USAGE)
    if not yes and not confirm("Erase these memories for good?"):
        raise Failure("nothing is erased without --yes")
    body: dict[str, Any] = {"everything": True} if everything else {"filter": wanted}
    answer = Client(url).call("POST", f"{_PATH}/erase", body)
    if as_json:
        print_json(answer)
    else:
        print(f"erased {answer.get('erased') or 0}")


@command(app, "export")
def export(
    file: Annotated[str, typer.Option("--to", help="The file to write; standard output if not said.")] = "-",
    user: User = "",
    agent: Agent = "",
    thread: Thread = "",
    kind: Kind = None,
    url: Url = None,
) -> None:
    """Write memories as JSON Lines, one memory a line, oldest first.

    Example: dac memory export --to memories.jsonl
    """
    client, query, token, parts = Client(url), _query(filter_of(user, agent, thread, kind)), "", list[str]()
    while True:
        more = [("page_token", token)] if token else []
        page = client.call("GET", f"{_PATH}/export", query=[*query, *more])
        parts.append(page.get("jsonl") or "")
        token = page.get("next_page_token") or ""
        if not token:
            break
    data = "".join(part if part.endswith("\n") or not part else part + "\n" for part in parts)
    if file == "-":
        sys.stdout.write(data)
        return
    try:
        pathlib.Path(file).write_text(data, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}", USAGE) from None
    note(f"{file}: {data.count(chr(10)):,} memories")
