"""LMArena's ratings from people's blind comparisons, by category and with intervals.

Two forms are read: pages of its leaderboard dataset as Hugging Face's dataset server gives them (CC BY 4.0), and the
catalogue file {category: {model: ratings}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.router.sources import BrokenAnswer, Elo, Parsed, SourceRecord
from services.router.sources import values as v

NAME = "lmarena"
PAGE_ROWS = 100
"""The most that the dataset server gives at once."""
CATEGORIES = {
    "overall": "overall",
    "full": "overall",
    "coding": "coding",
    "math": "math",
    "creative_writing": "creative_writing",
    "hard_prompts": "hard",
    "hard_6": "hard",
    "instruction_following": "instruction_following",
    "if": "instruction_following",
    "multi_turn": "multi_turn",
    "multiturn": "multi_turn",
    "longer_query": "long_prompt",
    "long_user": "long_prompt",
    "expert": "expert",
    **{name: name for name in ("english", "chinese", "french", "german", "japanese", "korean", "russian", "spanish")},
}
"""Their words → ours."""
_ASKED = "%20OR%20".join(
    f"%22category%22%3D%27{name}%27"
    for name in (
        *("overall", "coding", "math", "creative_writing", "hard_prompts", "instruction_following", "multi_turn"),
        *("english", "chinese", "french", "german", "japanese", "korean", "russian", "spanish"),
    )
)
ADDRESSES = (
    "https://datasets-server.huggingface.co/filter?dataset=lmarena-ai%2Fleaderboard-dataset&config=text&split=latest"
    f"&where={_ASKED}&offset={{offset}}&length={PAGE_ROWS}",
)
UNKNOWN_HALF_WIDTH = 100.0
"""Taken when a rating has no interval."""


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of all pages: one for each model, with its ratings by category. Raises BrokenAnswer."""
    found: dict[str, dict[str, Elo]] = {}
    about: dict[str, tuple[str, str]] = {}
    bad = 0
    why = ""
    for page in pages:
        for category, name, row, author, licence in _rows(v.read_json(page)):
            try:
                key = v.label(name, "model_name", needed=True)
                rating = _elo(row)
            except v.BadRow as error:
                bad += 1
                why = why or str(error)
                continue
            ratings = found.setdefault(key, {})
            bad += category in ratings
            ratings.setdefault(category, rating)
            about.setdefault(key, (v.shown(author), v.shown(licence)))
    if not found and not bad:
        raise BrokenAnswer("it has no rating")
    if bad > sum(map(len, found.values())):
        raise BrokenAnswer(f"{bad} of its ratings cannot be true, the first because {why or 'it is there twice'}")
    records = [
        SourceRecord(
            source=NAME, id=name, name=name, author=about[name][0], licence=about[name][1], elo=elo, seen_at_s=now_s
        )
        for name, elo in found.items()
    ]
    return Parsed(records, bad)


def is_last(page: bytes) -> bool:
    """Whether no page follows this one of the dataset server. Raises BrokenAnswer."""
    document = v.read_json(page)
    if not isinstance(document, Mapping) or "rows" not in document:
        return True
    return len(v.rows_of(document["rows"], "ratings")) < PAGE_ROWS


def _rows(document: Any) -> list[tuple[str, Any, Mapping[str, Any], Any, Any]]:
    """(category, model, ratings, organization, licence) of every rating of a category that is kept."""
    if not isinstance(document, Mapping):
        raise BrokenAnswer("it is no object with ratings")
    made: list[tuple[str, Any, Mapping[str, Any], Any, Any]] = []
    if "rows" in document:
        for one in v.rows_of(document["rows"], "ratings"):
            row = one.get("row") if isinstance(one, Mapping) else None
            row = row if isinstance(row, Mapping) else {}
            category = row.get("category")
            if not row or not isinstance(category, str) or category in CATEGORIES:
                kept = CATEGORIES.get(category, "") if isinstance(category, str) else ""
                made.append((kept, row.get("model_name"), row, row.get("organization"), row.get("license")))
        return made
    for category, models in document.items():
        if category not in CATEGORIES:
            continue
        if not isinstance(models, Mapping) or len(models) > v.MAX_ROWS:
            raise BrokenAnswer("a category is no object of models")
        for name, row in models.items():
            made.append((CATEGORIES[category], name, row if isinstance(row, Mapping) else {}, "", ""))
    if not made and not set(document) & set(CATEGORIES):
        raise BrokenAnswer("it has none of the categories")
    return made


def _elo(row: Mapping[str, Any]) -> Elo:
    rating = v.number(row.get("rating"), "rating", 1, 4000)
    if rating is None:
        raise v.BadRow("rating is missing")
    bounds = []
    for names, assumed in (
        (("rating_lower", "rating_q025"), rating - UNKNOWN_HALF_WIDTH),
        (("rating_upper", "rating_q975"), rating + UNKNOWN_HALF_WIDTH),
    ):
        said = next((row[name] for name in names if row.get(name) is not None), None)
        bound = v.number(said, names[0], -10_000, 10_000)
        bounds.append(assumed if bound is None else bound)
    if not bounds[0] <= rating <= bounds[1]:
        raise v.BadRow("the rating lies outside of its interval")
    return Elo(round(rating, 1), round(bounds[0], 1), round(bounds[1], 1))
