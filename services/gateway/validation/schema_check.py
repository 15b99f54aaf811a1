"""Whether an answer is the JSON that was asked for. It is never repaired: what does not parse has failed.

Schemas come from callers too, so they are run like foreign code: no reference leaves the schema, every keyword counts
as a step, and patterns run with a time limit.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.gateway.validation.effort import Effort
from services.gateway.validation.outcome import UNCHECKED, Outcome, judged
from services.gateway.validation.subject import ERROR, SCHEMA, Finding

CHARACTERS_MAX = 60_000
DEPTH_MAX = 100
STEPS_MAX = 5_000
ERRORS_MAX = 5
PATTERN_CHARACTERS_MAX = 1_000
PATTERN_S = 0.003
UNROLLED_MAX = 20_000
UNIQUE_MAX = 200
_COUNTS = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
_BRACKETS = re.compile(r"[\[{\]}]")


class _Stopped(Exception):
    """The schema asks for more than is checked."""


def check(text: str, schema: Mapping[str, Any], effort: Effort) -> Outcome:
    """What is to be said of an answer that was asked to obey `schema`."""
    if len(text) > CHARACTERS_MAX or _depth(text) > DEPTH_MAX:
        return UNCHECKED
    try:
        value = json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as error:
        behind = " (it stands in a code fence)" if text.lstrip().startswith("```") else ""
        return _failed([f"the answer is not JSON{behind}: {error.msg} (line {error.lineno})"], error.pos, len(text))
    except (ValueError, RecursionError, MemoryError):
        return UNCHECKED
    if not schema:
        return judged([], warned=1.0, failed=0.0)
    try:
        messages = _errors(value, schema, effort)
    except Exception:
        # The schema is anybody's: what its keywords raise says nothing of the answer.
        return UNCHECKED
    return _failed(messages, 0, len(text))


def _failed(messages: list[str], start: int, end: int) -> Outcome:
    return judged([Finding(SCHEMA, ERROR, one[:300], start, end) for one in messages], warned=0.7, failed=0.2)


def _refused(constant: str) -> Any:
    raise json.JSONDecodeError(f"{constant} is no JSON", "", 0)


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


@functools.cache
def load() -> tuple[Any, Any, Any] | None:
    """The libraries, which take long to import: to be called before an answer's clock starts. None = not installed."""
    try:
        names = ("jsonschema", "referencing", "regex")
        jsonschema, referencing, regex = (importlib.import_module(name) for name in names)
    except ImportError:
        return None
    return jsonschema, referencing, regex


def _errors(value: Any, schema: Mapping[str, Any], effort: Effort) -> list[str]:
    loaded = load()
    if loaded is None:
        raise _Stopped
    jsonschema, referencing, _ = loaded
    counted = _Counted(effort)
    keywords = jsonschema.Draft202012Validator.VALIDATORS
    own = {name: counted.keyword(function) for name, function in keywords.items()} | {
        "pattern": counted.pattern,
        "patternProperties": counted.pattern_properties,
        "uniqueItems": counted.unique_items,
        "unevaluatedItems": counted.refused,
        "unevaluatedProperties": counted.refused,
    }
    if any(name in schema for name in ("$id", "id")):
        schema = {name: part for name, part in schema.items() if name not in ("$id", "id")}
    checker = jsonschema.validators.extend(jsonschema.Draft202012Validator, own)
    # An empty registry: without one, references to other addresses would be fetched.
    found = checker(schema, registry=referencing.Registry()).iter_errors(value)
    return [f"{error.json_path}: {_short(error)}" for error in itertools.islice(found, ERRORS_MAX)]


def _short(error: Any) -> str:
    if len(error.message) <= 160:
        return str(error.message)
    return f"does not obey {error.validator}: {str(error.validator_value)[:100]}"


class _Counted:
    """Keywords that count as steps and stop when there are too many."""

    def __init__(self, effort: Effort) -> None:
        self._effort, self._steps = effort, 0

    def step(self) -> None:
        """One more."""
        self._steps += 1
        if self._steps > STEPS_MAX or not self._effort.is_left():
            raise _Stopped

    def keyword(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The library's keyword, counted."""

        @functools.wraps(function)
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self.step()
            for error in function(validator, value, instance, schema) or ():
                self.step()
                yield error

        return run

    def refused(self, *_: Any) -> Iterator[Any]:
        """A keyword that is not checked, as its cost has no bound."""
        raise _Stopped

    def matches(self, pattern: str, text: str) -> bool:
        """Whether the pattern is found in the text, in little time."""
        self.step()
        if len(pattern) > PATTERN_CHARACTERS_MAX or len(text) > PATTERN_CHARACTERS_MAX:
            raise _Stopped
        # Counted repeats are unrolled when a pattern is compiled, one inside another as often as their product says.
        if math.prod(max(1, int(least), int(most or 0)) for least, most in _COUNTS.findall(pattern)) > UNROLLED_MAX:
            raise _Stopped
        return _search(pattern, text)

    def pattern(self, validator: Any, value: str, instance: Any, _: Any) -> Iterator[Any]:
        """The keyword `pattern`."""
        if validator.is_type(instance, "string") and not self.matches(value, instance):
            yield _error(f"does not match {value[:80]!r}")

    def pattern_properties(self, validator: Any, value: Mapping[str, Any], instance: Any, _: Any) -> Iterator[Any]:
        """The keyword `patternProperties`."""
        if not validator.is_type(instance, "object"):
            return
        for pattern, part in value.items():
            for name, one in instance.items():
                if self.matches(pattern, name):
                    yield from validator.descend(one, part, path=name, schema_path=pattern)

    def unique_items(self, validator: Any, value: Any, instance: Any, _: Any) -> Iterator[Any]:
        """The keyword `uniqueItems`."""
        if not value or not validator.is_type(instance, "array"):
            return
        if len(instance) > UNIQUE_MAX:
            raise _Stopped
        seen = [json.dumps(one, sort_keys=True) for one in instance]
        if len(set(seen)) < len(seen):
            yield _error("has the same item twice")


def _search(pattern: str, text: str) -> bool:
    loaded = load()
    if loaded is None:
        raise _Stopped
    return loaded[2].search(pattern, text, timeout=PATTERN_S) is not None


def _error(message: str) -> Any:
    loaded = load()
    if loaded is None:
        raise _Stopped
    return loaded[0].ValidationError(message)
