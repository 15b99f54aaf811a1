"""A conversation as Markdown: the active branch for reading, and the whole tree in a comment at the end. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from services.memory.conversations.file import FORMAT
from services.memory.conversations.threads import PARTIAL, Thread
from services.memory.conversations.window import Message

_ROLES = {"User": "user", "Assistant": "assistant", "System": "system", "Tool": "tool"}
_TITLES = {role: title for title, role in _ROLES.items()}
_HEADING = re.compile(rf"^## ({'|'.join(_ROLES)})(?: · ([^·\n]*))?(?: · ([^·\n]*))?[ \t]*$", re.MULTILINE)
_LOOKS_LIKE_OURS = re.compile(rf"^(?=\\*(?:## (?:{'|'.join(_ROLES)})|<!-- {re.escape(FORMAT)}|> \*\[))", re.MULTILINE)
_ESCAPED = re.compile(rf"^\\(?=\\*(?:## (?:{'|'.join(_ROLES)})|<!-- {re.escape(FORMAT)}|> \*\[))", re.MULTILINE)
_TITLE = re.compile(r"\A\s*# (.*)$", re.MULTILINE)
_OPENS = re.compile(rf"^<!-- {re.escape(FORMAT)} sha256:([0-9a-f]{{64}})\n", re.MULTILINE)
_CLOSES = re.compile(r"\n-->[ \t]*$", re.MULTILINE)
_CUT = "> *[cut off]*"
_IS_CUT = re.compile(r"^> \*\[cut off\]\*\Z", re.MULTILINE)
_CALLS = re.compile(r"^> \*\[calls\]\* .*\n?", re.MULTILINE)
_NO_TIME = "-"


@dataclass(frozen=True, slots=True)
class Linear:
    """What Markdown without a tree says: a title and one line of messages."""

    title: str
    messages: tuple[Message, ...]


def head_of(thread: Thread) -> str:
    """The title and what else is known of a thread."""
    facts = [f"Tags: {', '.join(thread.tags)}"] if thread.tags else []
    facts += [f"Model: {thread.model}"] if thread.model else []
    lines = [f"# {_one_line(thread.title)}\n", *(f"\n{_one_line(fact)}\n" for fact in facts)]
    return "".join(lines)


def section_of(message: Message) -> str:
    """A message with its heading."""
    moment = dt.datetime.fromtimestamp(message.created_at_s, dt.UTC)
    parts = [
        _TITLES[message.role],
        _one_line(message.model).replace("·", "-") or _NO_TIME,
        f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    ]
    lines = [f"\n## {' · '.join(parts)}\n"]
    if message.text:
        lines.append("\n" + _LOOKS_LIKE_OURS.sub(r"\\", message.text) + "\n")
    lines += [f"\n> *[calls]* `{_one_line(call)}`\n" for call in _calls_of(message)]
    if message.status == PARTIAL:
        lines.append(f"\n{_CUT}\n")
    return "".join(lines)


class TreeComment:
    """The comment at the end, in parts; it knows by their digest whether the sections before it were changed."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def read(self, section: str) -> str:
        """Counts what stands before the comment; gives it back."""
        self._digest.update(section.replace("\r\n", "\n").encode("utf-8", "replace"))
        return section

    def head(self) -> str:
        """What opens the comment."""
        return f"\n<!-- {FORMAT} sha256:{self._digest.hexdigest()}\n"

    @staticmethod
    def body(part: str) -> str:
        """A part of JSON as it may stand in a comment: `>` is only ever inside of texts there."""
        return part.replace(">", "\\u003e")

    @staticmethod
    def tail() -> str:
        """What closes the comment."""
        return "\n-->\n"


def tree_in(markdown: str) -> tuple[str, bool] | None:
    """The JSON of the comment at the end and whether what stands before it is as it was written; None = no comment."""
    markdown = markdown.replace("\r\n", "\n")
    blocks = _blocks_of(markdown)
    if not blocks:
        return None
    opened, closed = blocks[-1]
    before = markdown[: opened.start()].removesuffix("\n")
    is_unchanged = hashlib.sha256(before.encode("utf-8", "replace")).hexdigest() == opened[1]
    return markdown[opened.end() : closed.start()], is_unchanged


def _blocks_of(markdown: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """Where comments open and close. In two steps: one expression would look for its end from each beginning anew."""
    found: list[tuple[re.Match[str], re.Match[str]]] = []
    end = 0
    for opened in _OPENS.finditer(markdown):
        if opened.start() < end:
            continue
        closed = _CLOSES.search(markdown, opened.end())
        if closed is None:
            break
        found.append((opened, closed))
        end = closed.end()
    return found


def _without_blocks(markdown: str) -> str:
    kept, at = list[str](), 0
    for opened, closed in _blocks_of(markdown):
        kept.append(markdown[at : opened.start()])
        at = closed.end()
    return "".join([*kept, markdown[at:]])


def linear_in(markdown: str) -> Linear:
    """The messages that headings divide. Their ids are their places; texts begin and end without empty lines."""
    markdown = _without_blocks(markdown.replace("\r\n", "\n"))
    headings = list(_HEADING.finditer(markdown))
    before = markdown[: headings[0].start()] if headings else markdown
    title = _TITLE.match(before)
    messages: list[Message] = []
    for place, heading in enumerate(headings):
        end = headings[place + 1].start() if place + 1 < len(headings) else len(markdown)
        messages.append(_message(place, heading, markdown[heading.end() : end].strip("\n")))
    return Linear(title[1].strip() if title else "", tuple(messages))


def _message(place: int, heading: re.Match[str], body: str) -> Message:
    is_cut = _IS_CUT.search(body) is not None
    body = _CALLS.sub("", _IS_CUT.sub("", body)).strip("\n")
    role, model = _ROLES[heading[1]], (heading[2] or "").strip()
    return Message(
        message_id=str(place + 1),
        thread_id="",
        role=role,
        text=_ESCAPED.sub("", body),
        openai_json="",
        tokens_estimated=0,
        request_id="",
        model="" if model == _NO_TIME else model,
        position=place,
        created_at_s=_time(heading[3] or ""),
        parent_id=str(place) if place else "",
        status=PARTIAL if is_cut else "COMPLETE",
    )


def _time(text: str) -> float:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Calls(msgspec.Struct):
    tool_calls: list[_Call] | None = None


_decoder = msgspec.json.Decoder(_Calls)


def _calls_of(message: Message) -> Sequence[str]:
    """The tool calls of a message, for reading."""
    if not message.openai_json:
        return ()
    try:
        calls = _decoder.decode(message.openai_json).tool_calls or []
    except msgspec.DecodeError:
        return ()
    return [f"{call.function.name}({call.function.arguments})" for call in calls if call.function]
