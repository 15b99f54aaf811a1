"""Long conversations with questions, in LoCoMo's form: what was said in which session, and which turns answer what."""

from __future__ import annotations

import datetime as dt
import json
import pathlib
import re
from dataclasses import dataclass
from typing import Any

_EVIDENCE = re.compile(r"D(\d+):(\d+)")
_SESSION = re.compile(r"session_(\d+)")
_WHEN = re.compile(r"(\d+):(\d+) (am|pm) on (\d+) (\w+), (\d+)")
BEGIN = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)


class FileError(Exception):
    """The file is not in the expected form."""


@dataclass(frozen=True)
class Turn:
    """Something that was said."""

    place: str
    """session:number, as evidence names it."""
    session: int
    speaker: str
    text: str
    at: dt.datetime


@dataclass(frozen=True)
class Question:
    """Something asked afterwards."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    """One of the file."""

    turns: list[Turn]
    questions: list[Question]
    """Those with evidence."""


def evidence_of(told: list[Any]) -> frozenset[str]:
    """Every turn that is named, however it is written."""
    return frozenset(f"{int(a)}:{int(b)}" for one in told for a, b in _EVIDENCE.findall(str(one)))


def read(path: pathlib.Path) -> list[Conversation]:
    """The conversations of a file. Raises FileError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return [_conversation(one) for one in told]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path} is not in LoCoMo's form: {type(error).__name__}: {error}") from error


def _conversation(one: dict[str, Any]) -> Conversation:
    said = one["conversation"]
    sessions = sorted(int(match[1]) for key in said if (match := _SESSION.fullmatch(key)))
    turns: list[Turn] = []
    for session in sessions:
        at = _moment(said.get(f"session_{session}_date_time", ""), session)
        for number, turn in enumerate(said[f"session_{session}"]):
            shown = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            (place,) = evidence_of([turn["dia_id"]])
            text = turn["text"] + shown
            turns.append(Turn(place, session, turn["speaker"], text, at + dt.timedelta(minutes=number)))
    questions = [
        Question(one["question"], int(one["category"]), evidence)
        for one in one["qa"]
        if (evidence := evidence_of(one.get("evidence") or []))
    ]
    return Conversation(turns, questions)


def _moment(told: str, session: int) -> dt.datetime:
    match = _WHEN.search(told)
    if not match:
        return BEGIN + dt.timedelta(days=session)
    hour, minute, half, day, month, year = match.groups()
    text = f"{hour}:{minute} {half} {day} {month} {year}"
    return dt.datetime.strptime(text, "%I:%M %p %d %B %Y").replace(tzinfo=dt.UTC)
