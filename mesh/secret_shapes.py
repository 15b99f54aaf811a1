"""What secrets look like: keys of providers and clouds, tokens, private keys, passwords that are said.

One place for what is struck out of logs and what is kept from providers. Everything runs on RE2, so the time is
linear in the text whatever the text is; a shape that may fail late has a search of its own, because among alternatives
it would be tried again behind every match of another one.
"""

import base64
import binascii
import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import re2

API_KEY, JWT, PRIVATE_KEY, PASSWORD = "api_key", "jwt", "private_key", "password"
KINDS = (API_KEY, JWT, PRIVATE_KEY, PASSWORD)
PEM_BYTES_MAX = 64 * 1024
"""No private key is longer in its armour; what is, is struck out up to here."""
Found = tuple[str, int, int]
"""A kind, where it begins in the bytes, and where it ends."""


def shape(pattern: bytes) -> Any:
    """A pattern over bytes, each for itself, on RE2; what RE2 says of its own memory is not for the log."""
    options = re2.Options()
    options.encoding, options.log_errors = re2.Options.Encoding.LATIN1, False
    return re2.compile(pattern, options)


class Tries:
    """How many candidates of one text are looked at: finding them is cheap in any text, proving each is not.

    A finder that has no tries left stops; whoever asked it must not take the rest of the text for looked through.
    """

    __slots__ = ("left",)

    def __init__(self, most: int = sys.maxsize) -> None:
        self.left = most

    @property
    def spent(self) -> bool:
        """Whether something was left unlooked at."""
        return self.left < 0

    def of(self, pattern: Any, data: bytes, each: int = 1) -> Iterator[Any]:
        """The matches of a shape, as far as the tries go; `each`: how many one of them takes."""
        if self.left < 0:
            return
        for match in pattern.finditer(data):
            self.left -= each
            if self.left < 0:
                return
            yield match


_KEYS = shape(
    rb"\b(?:"
    rb"dac_[a-z]+_[A-Za-z0-9]{12}_[A-Za-z0-9]{20,}(?:_[A-Za-z0-9]+)?"
    rb"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"
    rb"|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{20,}"
    rb"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}|gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,}"
    rb"|hooks\.slack\.com/services/T[A-Za-z0-9]{6,12}/B[A-Za-z0-9]{6,12}/[A-Za-z0-9]{16,32}"
    rb"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,}"
    rb"|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{36,}|pplx-[A-Za-z0-9]{40,}"
    rb"|nvapi-[A-Za-z0-9_-]{50,}|fw_[A-Za-z0-9]{22,}"
    rb"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|(?:AC|SK)[0-9a-f]{32}\b|key-[0-9a-f]{32}\b|[0-9a-f]{32}-us[0-9]{1,2}\b"
    rb"|npm_[A-Za-z0-9]{36}|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{40,}|dckr_pat_[A-Za-z0-9_-]{20,}"
    rb"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}\b|lin_api_[A-Za-z0-9]{32,}"
    rb"|ntn_[A-Za-z0-9]{40,}|ATATT3x[A-Za-z0-9_=-]{60,}|hv[sb]\.[A-Za-z0-9_-]{24,}|AGE-SECRET-KEY-1[A-Z0-9]{58}"
    rb"|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b|EAACEdEose0cBA[A-Za-z0-9]{20,}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"
    rb")"
)
_PREFIXED = shape(rb"\b(?:sk|pk|rk|xai|gsk|hf)[-_][A-Za-z0-9_-]{16,}")
"""Keys of which only the beginning is known: counted only when the rest looks drawn by lot."""
_TOKEN = shape(rb"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){2,4}")
_BEARER = shape(rb"(?i)\b(?:bearer|basic)[ \t]{1,4}([A-Za-z0-9._~+/=-]{16,})")
_USERINFO = shape(rb"://[A-Za-z0-9._~%!$&*+,;=-]{0,64}:([^\x00-\x20/:@\"'`\\<>(){}\[\]]{1,64})@[A-Za-z0-9\[]")
_ASSIGNED = shape(
    rb"(?i)(?:pass(?:word|wd|phrase)?|pwd|passwort|contrase\xc3\xb1a|mot de passe|senha"
    rb"|secret(?:[_-]?(?:access[_-]?)?key)?|access[_-]?key|api[_-]?key|auth[_-]?token|access[_-]?token|account[_-]?key|client[_-]?secret|private[_-]?token)"
    rb"[\"']?(?:[ \t]{0,4}(?:=>|:=|=|:)[ \t]{0,4}|[ \t]{1,4}(?:is|ist|est|es)[ \t]{1,4}[:=]?[ \t]{0,2})"
    rb"(?:\"((?:[^\x00-\x1f\"\\]|\\.){6,200})\"|'([^\x00-\x1f'\"]{6,200})'|([^\x00-\x20\"'`,;<>(){}\[\]\\]{6,200}))"
)
_BEGIN = shape(rb"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]:")
_END = shape(rb"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----|Private-(?:MAC|Hash): ?[0-9a-f]{40,64}")
_LOOSE = re.compile(
    rb"(?i)\A[a-z]+(?:[_-][a-z]+)*\Z|x{4}|\*{3}|\.\.\.|your[_-]?|changeme|example|placeholder|redacted|process\.env"
    rb"|os\.environ|getenv|\A(?:\$|%[a-z_]+%|secrets?\.|config\.|settings\.|self\.|args\.)|_[0-9]{1,6}\]"
)
"""Values that are no secrets: words, names, stand-ins, and where the secret is read from."""
_CHARACTERS = tuple(re.compile(one) for one in (rb"[0-9]", rb"[A-Z]", rb"[a-z]", rb"[!-/:-@_~^]"))
_ATTRIBUTE = re.compile(rb"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def looks_drawn(value: bytes) -> bool:
    """Whether a value looks drawn by lot: digits among letters, and not a few characters over and over."""
    letters = sum(65 <= one <= 90 or 97 <= one <= 122 for one in value[:64])
    digits = sum(48 <= one <= 57 for one in value[:64])
    return letters >= 3 and digits >= 2 and len(set(value[:64])) >= 10


def _is_password(value: bytes) -> bool:
    """Whether what is assigned is a secret itself, not a word or where one is read from."""
    if _LOOSE.search(value) or len(set(value)) < 4:
        return False
    kinds = [one.search(value) is not None for one in _CHARACTERS]
    return sum(kinds) >= 2 and (kinds[0] or sum(kinds) >= 3) and b" " not in value


def _is_token(value: bytes) -> bool:
    """Whether the first part of a dotted token is a JOSE header."""
    head = value.split(b".", 1)[0]
    if len(head) > 4096:
        return True
    try:
        said = msgspec.json.decode(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(said, dict) and not said.keys().isdisjoint(("alg", "typ", "enc", "kid"))


def private_keys(data: bytes, tries: Tries, until: bytes = b"\x00") -> Iterator[Found]:
    """Blocks of private keys; one without an end goes on to `until`, or to the end."""
    at = 0
    while not tries.spent and (begun := _BEGIN.search(data, at)) is not None:
        tries.left -= 1
        limit = data.find(until, begun.end())
        limit = min(len(data) if limit < 0 else limit, begun.start() + PEM_BYTES_MAX)
        # Its own end, not that of another key further on.
        ended = _END.search(data[begun.end() : limit])
        at = limit if ended is None else begun.end() + ended.end()
        yield PRIVATE_KEY, begun.start(), at


def tokens(data: bytes, tries: Tries) -> Iterator[Found]:
    """JSON web tokens."""
    if b"eyJ" in data:
        for match in tries.of(_TOKEN, data):
            if _is_token(match.group()):
                yield JWT, match.start(), match.end()


def keys(data: bytes, tries: Tries) -> Iterator[Found]:
    """Keys that are known by their shape, and what follows "Bearer"."""
    for match in tries.of(_KEYS, data):
        yield API_KEY, match.start(), match.end()
    for match in tries.of(_PREFIXED, data):
        if looks_drawn(match.group()):
            yield API_KEY, match.start(), match.end()
    for match in tries.of(_BEARER, data):
        if looks_drawn(match.group(1)):
            yield API_KEY, match.start(1), match.end(1)


def passwords(data: bytes, tries: Tries) -> Iterator[Found]:
    """Passwords in addresses, and what is assigned to a name that says it is secret."""
    if b"://" in data:
        for match in tries.of(_USERINFO, data):
            if not match.group(1).startswith(b"$"):
                yield PASSWORD, match.start(1), match.end(1)
    for match in tries.of(_ASSIGNED, data, 8):
        group = next(number for number in (1, 2, 3) if match.start(number) >= 0)
        value = match.group(group)
        kept = value.rstrip(b".?") if group == 3 else value
        if _is_password(kept) and not (group == 3 and _ATTRIBUTE.fullmatch(kept)):
            yield PASSWORD, match.start(group), match.start(group) + len(kept)


FINDERS = {PRIVATE_KEY: private_keys, JWT: tokens, API_KEY: keys, PASSWORD: passwords}
"""What finds a kind."""
