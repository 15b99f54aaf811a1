"""Guards: what tells two questions apart although they look alike. Rules only; the first that fires is named.

Written on public question pairs: fow-cache 0.1.0 (c) 2026 Mabon ap Gwyn, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Callable

from services.memory.answers.questions import Question, Word, taken_apart
from services.memory.answers.word_lists import NEGATIONS, OPPOSITES, words

_DIRECTED = words("to into onto from than by for over under before after versus vs as with without")
_FIRST = words("i me my mine myself we us our ours ourselves")
_SECOND = words("you your yours yourself")
_THIRD = {
    **dict.fromkeys(("he", "him", "his", "himself"), "he"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "she"),
    **dict.fromkeys(("they", "them", "their", "theirs", "themselves"), "they"),
}
_PAST = words("was were did had usedto")
_PREFIXES = words(
    "un dis in im il ir non de mis anti re over under pre post self hyper hypo inter intra multi semi sub super a ex "
    "co up out"
)
_PARTNERS: dict[str, set[str]] = {}
for _left, _right in OPPOSITES:
    for _word in _left:
        _PARTNERS.setdefault(_word, set()).update(_right)
    for _word in _right:
        _PARTNERS.setdefault(_word, set()).update(_left)


def fires(a: str, b: str) -> str | None:
    """The name of the guard that tells `a` and `b` apart, or None: they may share an answer if they are alike."""
    return between(taken_apart(a), taken_apart(b))


def between(a: Question, b: Question) -> str | None:
    """See `fires`, of two questions that are taken apart."""
    if a.words == b.words and a.amounts == b.amounts:
        return None
    return next((name for name, told_apart in _GUARDS if told_apart(a, b)), None)


def _numbers(a: Question, b: Question) -> bool:
    return a.amounts != b.amounts


def _times(a: Question, b: Question) -> bool:
    return a.times != b.times and not (a.has_comma != b.has_comma and sorted(a.times) == sorted(b.times))


def _quantities(a: Question, b: Question) -> bool:
    return sorted(a.quantities) != sorted(b.quantities)


def _negation(a: Question, b: Question) -> bool:
    return sum(one in NEGATIONS for one in a.words) % 2 != sum(one in NEGATIONS for one in b.words) % 2


def _opposites(a: Question, b: Question) -> bool:
    left, right = _forms(a), _forms(b)
    only_left, only_right = left - right, right - left
    if any(_PARTNERS.get(word, _NOBODY) & only_right for word in only_left):
        return True
    return any(_differ_by_prefix(one, other) for one in only_left for other in only_right)


_NOBODY: set[str] = set()


def _forms(question: Question) -> set[str]:
    """Every word, its group and its stem: opposites are written in their plainest form."""
    found = set(question.words)
    for word in question.content:
        found.add(word.key)
        found.add(_root(word.text))
    return found


def _root(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _differ_by_prefix(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) >= 3 and len(long) - len(short) <= 5 and any(
        long == prefix + short or (long.startswith(prefix) and long[len(prefix) :][:5] == short[:5] and len(short) >= 5)
        for prefix in _PREFIXES
    )  # fmt: skip


def _names(a: Question, b: Question) -> bool:
    return _lacks_name(a, b) or _lacks_name(b, a)


def _lacks_name(a: Question, b: Question) -> bool:
    """Whether a name of `a` is not in `b`, in whatever case."""
    others = {word.text for word in b.content} | set(b.words)
    squeezed = "".join(b.words)
    return any(word.is_name and word.text not in others and _squeezed(word.text) not in squeezed for word in a.content)


def _squeezed(word: str) -> str:
    return word.replace(".", "").replace("-", "")


def _persons(a: Question, b: Question) -> bool:
    if a.persons != b.persons:
        return True
    first_a, first_b = not _FIRST.isdisjoint(a.words), not _FIRST.isdisjoint(b.words)
    second_a, second_b = not _SECOND.isdisjoint(a.words), not _SECOND.isdisjoint(b.words)
    if first_a != first_b and second_a != second_b and first_a == second_b:
        return True
    if ("my" in a.words and "your" in b.words and "your" not in a.words) or (
        "my" in b.words and "your" in a.words and "your" not in b.words
    ):
        return True
    return {_THIRD[one] for one in a.words if one in _THIRD} != {_THIRD[one] for one in b.words if one in _THIRD}


def _direction(a: Question, b: Question) -> bool:
    """Whether words that stand in both change their places: from X to Y, X than Y, X of Y, X does Y."""
    left, right = _unique(a), _unique(b)
    common = [key for key in left if key in right]
    for key in common:
        one, other = left[key].after, right[key].after
        if one != other and {one, other} in _REVERSED:
            return True
    if len(common) < 2:
        return False
    order = [key for key in right if key in left]
    if order == common or (a.has_comma != b.has_comma and _turned(common, order)):
        return False
    if len(a.amounts) + len(a.times) > 1:
        # What belongs to which number would be another thing.
        return True
    swapped = [(x, y) for place, x in enumerate(common) for y in common[place + 1 :] if order.index(x) > order.index(y)]
    return any(_exchanged(left[x], left[y], right[x], right[y]) for x, y in swapped) or not _one_block_moved(
        common, order
    )


_REVERSED = ({"to", "from"}, {"into", "from"}, {"before", "after"}, {"over", "under"}, {"with", "without"})


def _unique(question: Question) -> dict[str, Word]:
    found: dict[str, Word] = {}
    for word in question.content:
        found.setdefault(word.key, word)
    return found


def _exchanged(x: Word, y: Word, x_then: Word, y_then: Word) -> bool:
    """Whether two words that changed places also changed what governs them."""
    directed = any(one.after in _DIRECTED for one in (x, y, x_then, y_then))
    owners = {"'s", "of"}
    if directed and (x.after != x_then.after or y.after != y_then.after):
        return bool({x.after, x_then.after, y.after, y_then.after} & (_DIRECTED - {"for"}))
    if (x.after in owners and y_then.after in owners and x_then.after not in owners) or (
        y.after in owners and x_then.after in owners and y_then.after not in owners
    ):
        return True
    return not any(one.after for one in (x, y, x_then, y_then))


def _turned(before: list[str], after: list[str]) -> bool:
    """Whether a clause was put in front: `On the menu, what is vegan?`."""
    return any(before[cut:] + before[:cut] == after for cut in range(1, len(before)))


def _one_block_moved(before: list[str], after: list[str]) -> bool:
    """Whether taking one run of words out and putting it elsewhere makes `after` of `before`."""
    start, end = 0, len(before)
    while start < end and before[start] == after[start]:
        start += 1
    while end > start and before[end - 1] == after[end - 1]:
        end -= 1
    middle, wanted = before[start:end], after[start:end]
    return any(middle[cut:] + middle[:cut] == wanted for cut in range(1, len(middle)))


_KINDS = {
    "when": "when", "where": "where", "why": "why", "who": "who", "whom": "who", "whose": "who", "how": "how",
    "howmuch": "howmuch", "howmany": "howmany", "howlong": "howlong", "howoften": "howoften", "howold": "howold",
    "howfar": "howfar", "howbig": "howbig", "howtall": "howtall", "howearly": "howearly", "howlate": "howlate",
    "what": "what", "which": "what",
}  # fmt: skip
_EITHER_OR = {
    **dict.fromkeys(words("can could may allowed possible able ok permitted"), "may"),
    **dict.fromkeys(words("should ought"), "should"),
    **dict.fromkeys(words("will would is are do does did was were am has have"), "is"),
    "must": "must",
}


def _kind(question: Question) -> str:
    """What a question asks for: a time, a place, a reason, …, or yes or no ("?may", "?must", …), or ""."""
    words = question.words
    for word in words:
        if word in _KINDS:
            kind = _KINDS[word]
            return "how" if kind == "what" and not _WAYS.isdisjoint(words) else kind
    return "?" + _EITHER_OR[words[0]] if words and words[0] in _EITHER_OR else ""


_WAYS = words("way ways step steps process procedure method bestway")
_WHAT = words("what howmuch howmany howlong howold howtall howoften howbig howfar")


def _question(a: Question, b: Question) -> bool:
    """Whether they ask for different things. What a `what` asks for is in its words, so it goes with most."""
    one, other = _kind(a), _kind(b)
    if one == other or not one or not other:
        return False
    goes_with_what = "what" in (one, other) and one in _WHAT and other in _WHAT
    return not goes_with_what and {one, other} != {"?may", "?is"}


_NEED = words("need needs needed must require requires required requirement")
_WANT = words("want wants wanted")
_MAY = words("allowed permitted possible able ok okay")
_CAN = _MAY | words("can could may might")


def _modality(a: Question, b: Question) -> bool:
    """Whether one needs, wants, may or should what the other does not; and whether one leaves a choice."""
    left, right = set(a.words), set(b.words)
    for marks in (_NEED, frozenset(("or",))):
        if left.isdisjoint(marks) != right.isdisjoint(marks):
            return True
    if left.isdisjoint(_WANT) != right.isdisjoint(_WANT) and "how" not in (_kind(a), _kind(b)):
        return True
    if (not left.isdisjoint(_MAY) and right.isdisjoint(_CAN)) or (not right.isdisjoint(_MAY) and left.isdisjoint(_CAN)):
        return True
    return ("should" in left and "can" in right - left) or ("should" in right and "can" in left - right)


def _symbols(a: Question, b: Question) -> bool:
    return _signs(a) != _signs(b)


def _signs(question: Question) -> list[str]:
    """What is not prose, in its order: operators, brackets, emoji, a minus in front of a number."""
    words = question.words
    return [
        one for place, one in enumerate(words) if not one[0].isalnum() and _is_sign(one, words[place + 1 : place + 2])
    ]


def _is_sign(mark: str, following: tuple[str, ...]) -> bool:
    if mark in "-\u2212\u2013":
        return bool(following) and following[0][0].isdigit()
    if mark == "!":
        return bool(following) and following[0] in "=<>"
    return mark not in _PROSE_MARKS


_PROSE_MARKS = ".,?!'\"():;\u2026\u2014\u201c\u201d\u2018\u2019`\u00bf\u00a1%\u20ac\u00a3$\u00a5\u20b9"
_POINTING = words("this that these those")


def _pointing(a: Question, b: Question) -> bool:
    """Whether one speaks of something at hand where the other speaks of its own."""
    return _points(a, b) or _points(b, a)


def _points(a: Question, b: Question) -> bool:
    return not _POINTING.isdisjoint(a.words) and _POINTING.isdisjoint(b.words) and not {"my", "our", "your"}.isdisjoint(
        set(b.words) - set(a.words)
    )  # fmt: skip


def _tense(a: Question, b: Question) -> bool:
    return _PAST.isdisjoint(a.words) != _PAST.isdisjoint(b.words)


_GUARDS: tuple[tuple[str, Callable[[Question, Question], bool]], ...] = (
    ("numbers", _numbers),
    ("times", _times),
    ("negation", _negation),
    ("opposites", _opposites),
    ("names", _names),
    ("persons", _persons),
    ("quantities", _quantities),
    ("question", _question),
    ("tense", _tense),
    ("modality", _modality),
    ("symbols", _symbols),
    ("pointing", _pointing),
    ("direction", _direction),
)
