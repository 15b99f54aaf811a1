"""Answers made to hurt whoever checks them."""

import random

CHARACTERS = 120_000
LANGUAGES = (
    "python", "javascript", "typescript", "json", "go", "rust", "java", "bash", "sql", "c", "cpp", "html", "css",
    "yaml", "ruby",
)  # fmt: skip
_PIECES = {
    "letters": "a", "lines": "\n", "blanks": " ", "dots": ".", "fences": "```", "opened": "```python\n", "sums": "1+1=",
    "brackets": "(", "braces": "{", "squares": "[", "quotes": '"', "slashes": "\\", "nul": "\0", "surrogates": "\ud800",
    "accents": "á\u0301", "marks": "\u0301", "right to left": "\u202e", "family": "👩‍👩‍👧", "han": "中", "kana": "かな",
    "arabic": "ع", "scripts": "aбع中", "tildes": "~~~\n", "tags": "<", "digits": "9", "thousands": "1,111,",
    "words": "the cat sat ", "capitals": "Aa ", "starred": "f*** ", "signs": "@$$ ", "sorry": "I'm sorry, but ",
    "as an": "as an ai ", "list": "- ", "tabs": "\t", "returns": "\r\n", "separators": " ", "ticks": "`",
    "cited": "> ", "powers": "9^9^9=1 ", "times": "2 x 3 = 6 ", "initials": "A. ", "greetings": "Hello there. ",
    "percent": "12.5% ", "names": "Foo Bar ", "objects": '{"a":', "bad python": "```py\nx=(\n```\n",
    "bad shell": "```sh\n$(\n```\n", "bad c++": "```cpp\na<b<\n```\n", "bad yaml": "```yaml\na: [\n```\n",
    "long fact": "In 1999 Mr Smith jumped over 3 + 4 = 7 dogs. ", "zero width": "\u200b", "minus": "-1-1=",
    "colons": "a:b:",
}  # fmt: skip


def answers():
    """Name → text."""
    chance = random.Random(3)
    found = {name: piece * (CHARACTERS // len(piece)) for name, piece in _PIECES.items()}
    signs = "(){}[]<>;:,.+-*/=abc \n\"'`$#@!%^&|\\"
    for language in LANGUAGES:
        noise = "".join(chance.choices(signs, k=12_000))
        found[f"noise {language}"] = f"```{language}\n{noise}\n```\n"
        found[f"nested {language}"] = f"```{language}\n{'([' * 6_000}\n```\n"
    for name, piece in {"decorated": "@a\n", "tuple": "a,", "compared": "a<b<", "chosen": "a if b else "}.items():
        found[f"python {name}"] = f"```python\n{piece * (7_900 // len(piece))}\n```\n" * 10
    found["any characters"] = "".join(chr(chance.randrange(1, 0x10FFFF)) for _ in range(30_000))
    return found
