"""`dac conversations`: list, search, and take conversations along as files."""

import json
import pathlib
import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, one_of, segment, why_unread
from mesh.cli.output import AsJson, Url, clean, command, local_time, note, print_json, table

app = typer.Typer(help="Conversations: list, search, export, import.", no_args_is_help=True)
FORMS = ("json", "markdown")
_PATH = "/v1/conversations"


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="conversations")


@command(app, "list")
def list_conversations(url: Url = None, as_json: AsJson = False) -> None:
    """List the conversations that this key sees, newest first.

    Example: dac conversations list
    """
    found = Client(url).pages(_PATH, "threads")
    if as_json:
        print_json({"threads": found})
        return
    rows = [
        (one.get("thread_id"), clean(one.get("title")), one.get("message_count"), local_time(one.get("updated_at")))
        for one in found
    ]
    table(("id", "title", "messages", "changed"), rows, right=(2,))


@command(app, "search")
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    thread: Annotated[str, typer.Option("--in", help="Only in this conversation.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many at most.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Find messages by their words and, where DAC has an embedder, by their meaning.

    Example: dac conversations search "hotel in rome"
    """
    body = {"query": query, "thread_id": thread, "page_size": limit}
    answer = Client(url).call("POST", f"{_PATH}/messages/search", body)
    if as_json:
        print_json(answer)
        return
    table(("conversation", "who", "when", "what"), [_hit(one) for one in answer.get("hits") or []])
    if answer.get("next_page_token"):
        note("there is more: say more words, or a larger --limit")


def _hit(one: dict[str, Any]) -> tuple[object, ...]:
    message = one.get("message") or {}
    pieces = " … ".join(" ".join(str(piece.get("text")).split()) for piece in one.get("snippets") or [])
    return message.get("thread_id"), message.get("role"), local_time(message.get("created_at")), clean(pieces[:160])


@command(app, "export")
def export(
    thread: Annotated[str, typer.Argument(help="The conversation's id (dac conversations list).")],
    file: Annotated[str, typer.Option("--to", help="The file to write; standard output if not said.")] = "-",
    form: Annotated[str, typer.Option("--format", help="json or markdown.")] = "json",
    url: Url = None,
) -> None:
    """Write a conversation with all its branches to a file, as JSON or as Markdown; both import again.

    Example: dac conversations export rome --format markdown --to rome.md
    """
    one_of("--format", form, FORMS)
    parts = Client(url).download(f"{_PATH}/{segment(thread)}/export", {"format": form})
    if file == "-":
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    # Whole or not at all: an export that breaks off leaves no file behind that looks like one.
    data = b"".join(parts)
    try:
        pathlib.Path(file).write_bytes(data)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}", USAGE) from None
    note(f"{file}: {len(data):,} bytes")


@command(app, "import")
def import_file(
    file: Annotated[str, typer.Argument(help="An exported file, JSON or Markdown; - = standard input.")],
    thread: Annotated[str, typer.Option("--as", help="The new conversation's id; the file's own if not said.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make the conversation that a file holds; the same file again changes nothing.

    Example: dac conversations import rome.md --as rome-2
    """
    try:
        text = sys.stdin.read() if file == "-" else pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {why_unread(error)}", USAGE) from None
    body = body_of(text)
    if thread:
        body["thread_id"] = thread
    answer = Client(url).call("POST", f"{_PATH}/import", body)
    if as_json:
        print_json(answer)
        return
    for one in answer.get("notes") or []:
        note(one)
    made = "made" if answer.get("created") else "is there already"
    counts = f"{answer.get('message_count')} messages, {answer.get('branch_count')} branches"
    print(f"{answer['thread']['thread_id']}: {made} ({counts})")


def body_of(text: str) -> dict[str, Any]:
    """The body of an import: a JSON file is the body as it is."""
    if not text.lstrip().startswith("{"):
        return {"markdown": text}
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Failure(f"the file is neither JSON nor Markdown: {error}", USAGE) from None
    return dict(document)
