"""Whether a phrase that was found is a claim of who speaks, by what stands around it, and how it is put instead. Pure.

An AI that speaks is never denied: what said "an AI language model developed by …" says "the AI assistant …".
"""

from __future__ import annotations

import re

Edit = tuple[int, int, str]
"""From where to where, and what stands there instead."""
_AI = re.compile(
    r"A\.?I\b|rtificial|anguage|LLM|chat ?bot|[Mm]achine.learning|[Nn]eural|[Dd]eep learning|GPT|OpenAI|Anthropic"
)
_MACHINE = re.compile(r"program|machine|bot\b|software|digital|virtual|text|computer|automated|algorithm")
_SENTENCE = re.compile(
    r"(?:^|[.!?:;\n]\W*|\b(?:[Ss]orry|[Uu]nfortunately|[Aa]pologi[sz]e|[Aa]pologies|[Yy]es|[Nn]o|[Hh]owever|[Bb]ut|[Ss]ure|[Aa]nd|"
    r"[Aa]ctually|[Oo]kay|[Hh]ello|[Hh]i|[Ww]ell|[Oo]f course|[Cc]ertainly|[Gg]enerally|[Ww]hile|[Tt]hough|[Aa]lthough|"
    r"because|since|[Rr]egrettably|[Hh]onestly|[Tt]echnically|[Aa]gain|[Rr]emember|[Tt]hank you|[Tt]hanks)\W*)$"
)
_NOT_MINE = re.compile(
    r"(?:\b(?:such|act|acts|acting|acted|well|known|same|work|works|serve|serves|serving|behave|described?|refer\w*|defin\w*|"
    r"us(?:e|es|ed|ing)|seen|regard\w*|consider\w*|classif\w*|treat\w*|view\w*|function\w*|role|cast|pose|posing|"
    r"masquerad\w*|disguised|portray\w*|written|write|roleplay\w*|pretend\w*|imagine|much|soon|long|far|just|like|if)|['‘])\W?$"
)
_MINE = re.compile(
    r"\b(?:I, (?:just )?|[Mm]y (?:\w+ ){1,4}|(?:I (?:can(?:no|')t|can not|can only|do(?: not|n't|n’t)|did not|am|was|"
    r"have|lack|will not|won't)|I['’]m)\b(?:,? [a-z][\w'’/-]*){0,24},? ?)$"
)
_OTHERS = re.compile(
    r"\b(?:us(?:e|ed|ing)|recommend|suggest|consider|classif\w+|describe|know|see|regard|think of|identify)\b"
)


_SENTENCES = re.compile(r"[.!?:;\n]")


def edits_of(claim: re.Match[str], left: str, name: str) -> list[Edit]:
    """What to put otherwise; nothing where the phrase is no claim. `left`: what stands before it."""
    kind, found = claim.lastgroup, claim.groupdict()
    if kind == "name":
        return _naming(claim, left, name) if _is_named(claim, left) else []
    if kind == "kind":
        return [(*claim.span("kind_np"), _assistant(name))] if _is_kind(claim, left) else []
    if kind == "made":
        group = "based" if found["based"] is not None else "made_by"
        return [(*claim.span(group), _assistant(name) if group == "based" else f"provided by {name}")]
    if kind == "my_maker":
        return [(*claim.span("maker"), name)]
    return [(claim.start() - 1, claim.end("makes_me"), f"{name} provided me")]


def _assistant(name: str) -> str:
    return f"the AI assistant {name}"


def _is_named(claim: re.Match[str], left: str) -> bool:
    found = claim.groupdict()
    if claim.string[claim.start() - 1] in "aA":
        return found["name_linked"] is not None and not _NOT_MINE.search(left)
    return (
        found["strong"] is not None
        or found["whose"] is not None
        or found["speaking"] is not None
        or (found["also_kind_noun"] is not None and _says_ai(found["also_kind_noun"], found["also_kind_tail"]))
    )


def _naming(claim: re.Match[str], left: str, name: str) -> list[Edit]:
    found, edits = claim.groupdict(), list[Edit]()
    edits.append((*claim.span("strong" if found["strong"] is not None else "weak"), name))
    if found["also"] is not None and _says_ai(found["also_kind_noun"], found["also_kind_tail"]):
        begin, end = claim.span("also_kind")
        edits.append(
            (begin, end, "an AI assistant made" if found["also_to"] and found["also_kind_tail"] else "an AI assistant")
        )
    elif found["whose"] is not None:
        begin, end = claim.span("whose")
        edits.append((begin, claim.start("whose_to"), ", made") if found["whose_to"] else (begin, end, ""))
    return edits


def _says_ai(noun: str, tail: str) -> bool:
    return bool(tail) or _AI.search(noun) is not None


def _is_kind(claim: re.Match[str], left: str) -> bool:
    found, first = claim.groupdict(), claim.string[claim.start() - 1]
    noun, says_ai = found["kind_np_noun"], _says_ai(found["kind_np_noun"], found["kind_np_tail"])
    if first == "I":
        return says_ai and not claim.group().startswith(" was")
    if first in "bB":
        return says_ai and (found["linked"] is not None or found["unable"] is not None)
    if _NOT_MINE.search(left):
        return False
    if found["unable"] is not None:
        return says_ai or _MACHINE.search(noun) is not None
    if not says_ai:
        return False
    if found["linked"] is not None or (found["opens"] is not None and _SENTENCE.search(left)):
        return True
    mine = _MINE.search(_SENTENCES.split(left)[-1])
    return mine is not None and not _OTHERS.search(mine.group())
