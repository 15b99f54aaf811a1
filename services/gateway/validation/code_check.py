"""Whether the code of an answer parses: Python by its own parser, fourteen other languages by tree-sitter."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

from services.gateway.validation.effort import Effort
from services.gateway.validation.fences import Block
from services.gateway.validation.grammars import ALIASES, DIALECTS, MODULES, Grammars, Stopped
from services.gateway.validation.outcome import UNCHECKED, Outcome, judged
from services.gateway.validation.subject import CODE, ERROR, WARN, Finding

READ_CHARACTERS_MAX = 200_000
BLOCKS_MAX = 20
PYTHON_CHARACTERS_MAX = 8_000
"""Longer Python is read by tree-sitter, which can be stopped half-way."""
SOURCE_CHARACTERS_MAX = 60_000
DEPTH_MAX = 60
"""Deeper nested brackets are not given to Python's parser."""
_DEPTH = re.compile(r"[(\[{]|[)\]}]")
_MAGIC = re.compile(r"^[ \t]*[%!][^\n]*", re.MULTILINE)
_DOTS = re.compile(r"^[ \t]*(?:\.\.\.|…)[ \t]*$", re.MULTILINE)
_PROMPT = re.compile(r"^[ \t]*\$ ", re.MULTILINE)
_PLACE = re.compile(r"<[A-Za-z][\w .-]{0,40}>")


def check(text: str, found: list[Block], finish_reason: str, grammars: Grammars, effort: Effort) -> Outcome:
    """What is to be said of the fenced blocks; without any, and in languages without a grammar, nothing is checked."""
    findings: list[Finding] = []
    is_checked = False
    for block in found[:BLOCKS_MAX]:
        if not block.is_closed:
            is_checked = True
            findings.append(_unclosed(block, finish_reason))
            continue
        try:
            finding = _block(text[block.start : block.end], block, grammars, effort)
        except Stopped:
            continue
        is_checked = True
        if finding is not None:
            findings.append(finding)
    return judged(findings, warned=0.8, failed=0.3) if is_checked else UNCHECKED


def language_of(block: Block) -> str:
    """The name of a block's language, as grammars have it; another word, or none, when there is no grammar."""
    return ALIASES.get(block.language, block.language)


def _unclosed(block: Block, finish_reason: str) -> Finding:
    if finish_reason in {"length", "max_tokens"}:
        return Finding(CODE, ERROR, "the answer was cut off inside its code", block.start, block.end)
    return Finding(CODE, WARN, "the code fence is not closed", block.start, block.end)


def _block(code: str, block: Block, grammars: Grammars, effort: Effort) -> Finding | None:
    """The first thing wrong with a block, or None. Raises Stopped when it is not checked."""
    language = language_of(block)
    if language not in MODULES or len(code) > SOURCE_CHARACTERS_MAX or not code.strip() or not effort.is_left():
        raise Stopped
    if language == "python" and len(code) <= PYTHON_CHARACTERS_MAX:
        wrong = _python(code, effort)
    else:
        wrong = _grammar(code, language, grammars, effort)
    if wrong is None:
        return None
    message, start, end = wrong
    severity = WARN if language in DIALECTS else ERROR
    return Finding(CODE, severity, f"{language}: {message}", block.start + start, block.start + max(start, end))


def _python(code: str, effort: Effort) -> tuple[str, int, int] | None:
    if _depth(code) > DEPTH_MAX:
        raise Stopped
    wrong = _parse_python(code)
    if wrong is None:
        return None
    for other in (_DOTS.sub(_pass, textwrap.dedent(_MAGIC.sub("", code))), _typed(code)):
        if other is not None and other.strip() and other != code:
            if not effort.is_left():
                raise Stopped
            if _parse_python(other) is None:
                return None
    return wrong


def _pass(found: re.Match[str]) -> str:
    return found.group().replace("…", "...")


def _parse_python(code: str) -> tuple[str, int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except SyntaxError as error:
        start = _place(code, error.lineno or 1, error.offset or 1)
        return f"{error.msg} (line {error.lineno})", start, min(len(code), start + 1)
    except (RecursionError, MemoryError, ValueError) as error:
        raise Stopped from error
    return None


def _typed(code: str) -> str | None:
    """What was typed in a session of the interpreter; the examples of a docstring are none."""
    if not code.lstrip().startswith(">>>"):
        return None
    lines = code.splitlines()
    typed = [line.lstrip()[4:] for line in lines if line.lstrip()[:4] in (">>> ", "... ")]
    return "\n".join(typed)


def _place(code: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = code.find("\n", start) + 1
        if start == 0:
            return len(code)
    return min(len(code), start + max(0, column - 1))


def _depth(code: str) -> int:
    depth = deepest = 0
    for sign in _DEPTH.findall(code):
        depth = depth + 1 if sign in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _grammar(code: str, language: str, grammars: Grammars, effort: Effort) -> tuple[str, int, int] | None:
    if grammars.parser(language) is None:
        raise Stopped
    plain = _DOTS.sub(_blank, code)
    if language == "bash":
        plain = _PLACE.sub(_letters, _PROMPT.sub(_blank, plain))
    source = plain.encode("utf-8", "replace")
    wrong = grammars.first_error(language, source, effort.is_left)
    if wrong is None:
        return None
    start, end = (len(source[:place].decode("utf-8", "ignore")) for place in wrong)
    return f"does not parse (line {code.count(chr(10), 0, start) + 1})", start, end


def _blank(found: re.Match[str]) -> str:
    return " " * len(found.group())


def _letters(found: re.Match[str]) -> str:
    return "x" * len(found.group())
