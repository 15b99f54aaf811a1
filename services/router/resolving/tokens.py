"""A model's name taken apart: its words, and typed tokens that must never be compared as mere letters.

"Qwen/Qwen3-30B-A3B-Thinking-2507" is organisation Qwen, version 3, size 30b, active size 3b, variant thinking, date
2507. What a name does not say stays empty: unknown, which is not the same as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.router.resolving.makers import SHORTEST_PREFIX, plain_organisation

SERVICE_TAGS = frozenset({"free", "exacto", "extended", "nitro", "floor"})
"""What a seller adds to a name that says nothing of the model."""
NOT_THINKING = "nothinking"
"""A mode of a model that may think, switched off: no variant of its own."""
VARIANTS: Mapping[str, str] = {
    **dict.fromkeys(("instruct", "it", "chat", "inst"), "instruct"),
    **dict.fromkeys(("base", "pretrained"), "base"),
    **dict.fromkeys(("thinking", "think", "reasoning", "reasoner"), "thinking"),
    **dict.fromkeys(("coder", "code", "codex"), "coder"),
    **dict.fromkeys(("vl", "vision", "visual"), "vision"),
    **dict.fromkeys(("math", "guard", "embedding", "audio", "image", "omni", "multimodal"), ""),
    "rm": "reward",
    "reward": "reward",
    "nothinking": NOT_THINKING,
}
"""The word → what kind of model it makes; "" = the word itself."""
QUANTISATIONS = re.compile(r"fp[468]|nf4|int[48]|[1-8]bit|awq|gptq|gguf|ggml|exl[23]|mlx|onnx|w\da\d+|i?q\d(?:_\w+)?")
FORMATS = frozenset({"hf", "bf16", "fp16", "fp32", "text", "moe"})
"""How or as what the same weights are kept; they name no other model."""
TIERS = frozenset(
    {"nano", "micro", "tiny", "mini", "small", "medium", "large", "ultra", "super"}
    | {"max", "plus", "pro", "turbo", "flash", "lite", "air"}
)
"""Words that tell one model of a family from its siblings: near in letters, never near in meaning."""

_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmt]|e\d+b")
_ACTIVE = re.compile(r"a\d+(?:\.\d+)?b")
_EXPERTS = re.compile(r"\d+e")
_CONTEXT = re.compile(r"\d+k")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)([a-z]?)")
_GLUED_SIZE = re.compile(r"([a-z]{1,12})(\d+(?:\.\d+)?b)")
_GLUED_VERSION = re.compile(r"([a-z]+)v?(\d+(?:\.\d+)*)([a-z]?)")
_WHOLE_DATE = re.compile(r"(?<!\d)(20\d\d)[-.]?([01]\d)[-.]?([0-3]\d)(?!\d)")
_UNDERSCORED_VERSION = re.compile(r"(?<=\d)_(?=\d+(?![\w.]))")
_DASHED_VERSION = re.compile(r"(?<![\d.])(\d)-(\d)(?![\w.])")
"""How ids write a point: "Llama-3_3-70B", "claude-3-5-sonnet"."""
_MONTH_YEAR = re.compile(r"(?<!\d)([01]\d)-20(\d\d)(?!\d)")


@dataclass(frozen=True)
class Identity:
    """What a name says of a model; empty = it does not say."""

    organisation: str = ""
    words: frozenset[str] = frozenset()
    """Family and sibling words, without the organisation's own name."""
    joined: str = ""
    """The same, in the order they were written, as one string."""
    versions: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()
    """Those written with a v: "Mixtral-8x7B-v0.1" is a release of a model, "Qwen1.5" is a family of its own."""
    formats: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()
    """Parameters ("70b", "8x22b") and experts ("128e")."""
    active: str = ""
    date: str = ""
    """"2507", "0324" or "20250728": as it was written, without separators."""
    variants: frozenset[str] = frozenset()
    """Without "instruct", which `instruct` tells."""
    instruct: bool = False
    quantisations: frozenset[str] = frozenset()
    context: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """All but organisation and context: two names with one key say the same."""
        return (
            self.joined,
            self.versions,
            self.sizes,
            self.active,
            self.date,
            self.variants,
            self.instruct,
            self.quantisations,
        )


class _Reading:
    """The tokens of one name as they are found."""

    def __init__(self, organisation: str) -> None:
        self._organisation = organisation
        self.words: list[str] = []
        self.versions: set[str] = set()
        self.releases: set[str] = set()
        self.formats: set[str] = set()
        self.sizes: set[str] = set()
        self.variants: set[str] = set()
        self.quantisations: set[str] = set()
        self.active = self.date = self.context = ""

    def take(self, token: str) -> None:
        """Sorts one token in."""
        if token in FORMATS:
            self.formats.add(token)
        elif len(token) >= SHORTEST_PREFIX and self._organisation.startswith(token):
            # "AI21-Jamba": the 21 is no version.
            self.words.append(token)
        elif token == "pt":
            # Google's word for pretrained; to others it is PyTorch.
            self.variants.update(["base"] if self._organisation == "google" else [])
        elif token in VARIANTS:
            self.variants.add(VARIANTS[token] or token)
        elif QUANTISATIONS.fullmatch(token):
            self.quantisations.add(token)
        elif _ACTIVE.fullmatch(token):
            self.active = token[1:]
        elif _SIZE.fullmatch(token) or _EXPERTS.fullmatch(token):
            self.sizes.add(token.removeprefix("e"))
        elif _CONTEXT.fullmatch(token):
            self.context = token
        elif re.fullmatch(r"v?\d{4}", token) and _is_date(token.lstrip("v")) and not self.date:
            self.date = token.lstrip("v")
        elif found := _VERSION.fullmatch(token):
            self._version(found[1], found[2], release=token.startswith("v"))
        elif found := _GLUED_SIZE.fullmatch(token):
            self.words.append(found[1])
            self.sizes.add(found[2])
        elif found := _GLUED_VERSION.fullmatch(token):
            # "L3" is how tuners write Llama 3.
            self.words.append("llama" if found[1] == "l" else found[1])
            self._version(found[2], found[3])
        else:
            self.words.append(token)

    def _version(self, number: str, letter: str, *, release: bool = False) -> None:
        if letter == "v":
            self.variants.add("vision")
            letter = ""
        plain = ".".join(str(int(part)) for part in number.split("."))
        said = plain.removesuffix(".0") + letter
        self.versions.add(said)
        if release:
            self.releases.add(said)


def _is_date(digits: str) -> bool:
    """Whether four digits are a year and month (2507) or a month and day (0324)."""
    first, second = int(digits[:2]), int(digits[2:])
    return (20 <= first <= 39 and 1 <= second <= 12) or (1 <= first <= 12 and 1 <= second <= 31)


def split_name(name: str) -> tuple[str, str]:
    """Organisation and the rest: "meta-llama/X" and "Meta: X" alike; "" when none is named."""
    if ": " in name:
        organisation, _, rest = name.partition(": ")
        return organisation.strip(), rest
    organisation, _, rest = name.rpartition("/")
    return organisation.rsplit("/", 1)[-1].strip(), rest


def parse(name: str, organisation: str = "") -> Identity:
    """A name taken apart. `organisation` counts where the name itself has none, or is a display name."""
    own, rest = split_name(name.strip())
    organisation = organisation or own
    text = rest.lower().replace("+", "-plus-").replace("no-thinking", "nothinking")
    text = _UNDERSCORED_VERSION.sub(".", text)
    text = _DASHED_VERSION.sub(r"\1.\2", text)
    reading = _Reading(plain_organisation(organisation))

    def dated(found: re.Match[str]) -> str:
        reading.date = "".join(found.groups()) if len(found.groups()) == 3 else found[2] + found[1]
        return " "

    text = _WHOLE_DATE.sub(dated, text)
    text = _MONTH_YEAR.sub(dated, text)
    tokens = [token for token in re.split(r"[^a-z0-9.]+", text) if token]
    for token in tokens:
        token = token.strip(".")
        if token and token not in SERVICE_TAGS:
            reading.take(token)
    return Identity(
        organisation=organisation,
        words=frozenset(reading.words),
        joined="".join(reading.words),
        versions=frozenset(reading.versions),
        releases=frozenset(reading.releases),
        formats=frozenset(reading.formats),
        sizes=frozenset(reading.sizes),
        active=reading.active,
        date=reading.date,
        variants=frozenset(reading.variants - {"instruct"}),
        instruct="instruct" in reading.variants,
        quantisations=frozenset(reading.quantisations),
        context=reading.context,
    )
