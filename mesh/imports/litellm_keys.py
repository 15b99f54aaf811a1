"""LiteLLM's virtual keys, from a dump of their table, as keys and budgets of DAC. A whole key is never kept."""

import dataclasses
import datetime as dt
import decimal
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mesh.config import ConfigError
from mesh.imports.notes import CHANGED, DO, NONE, Note
from mesh.imports.rate_limits import RateLimit, whole

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 2_592_000, "y": 31_536_000}
NAMED_S = {"hourly": 3600, "daily": 86_400, "weekly": 604_800, "monthly": 2_592_000, "yearly": 31_536_000}
DAY_S = 86_400
WINDOWS = (
    ("WINDOW_MINUTE", 60, 60, "a minute"),
    ("WINDOW_HOUR", 3600, 3600, "an hour"),
    ("WINDOW_DAY", DAY_S, DAY_S, "a day"),
    ("WINDOW_WEEK", 7 * DAY_S, 7 * DAY_S, "a week"),
    ("WINDOW_MONTH", 28 * DAY_S, 31 * DAY_S, "a month"),
)
"""DAC's windows: how long each is at least and at most, in seconds, and what it is called."""
EVERY_MODEL = {"all-proxy-models", "*"}
PATTERN = re.compile(r"[A-Za-z0-9._:/*-]{1,200}")
MOST_DIGITS = 15
"""A limit of more dollars is none."""
PAGES_TEAM = "litellm-dashboard"
"""LiteLLM's pages make keys for their own sign-ins under this team."""
RATES = ("rpm_limit", "tpm_limit", "max_parallel_requests")
NOT_ENFORCED = {
    "model_max_budget": "set one with `dac budget set --key ID --model MODEL`",
    "soft_budget": "set one with `dac budget set --key ID --soft`",
    "aliases": "write aliases for all into aliases:",
    "config": "DAC has no configuration for one key",
    "permissions": "a key has scopes: chat and read",
    "allowed_routes": "a key has scopes: chat and read",
    "budget_id": "the budget that it names is in another table: `dac budget set`",
}


@dataclasses.dataclass(frozen=True)
class Budget:
    """A limit to be set."""

    window: str
    """One of WINDOWS, or WINDOW_NONE."""
    limit_nano_usd: int


@dataclasses.dataclass(frozen=True)
class Key:
    """A key to be taken over."""

    sha256: str
    name: str
    hint: str
    models: tuple[str, ...]
    expires_at: str
    """RFC 3339; empty = never."""
    blocked: bool
    budget: Budget | None
    rate_limit: RateLimit = dataclasses.field(default_factory=RateLimit)

    def wanted(self) -> dict[str, Any]:
        """As IdentityService.ImportKeys takes it."""
        fields = {"sha256": self.sha256, "name": self.name, "hint": self.hint, "models": list(self.models)}
        return {**fields, "blocked": self.blocked, **({"expires_at": self.expires_at} if self.expires_at else {})}


def read_dump(text: str, name: str) -> list[Mapping[str, Any]]:
    """The rows: a JSON list, {"keys": list}, or one object a line. Raises ConfigError."""
    try:
        found = json.loads(text, parse_float=Decimal)
    except RecursionError:
        raise ConfigError(f"{name}: nested too deep") from None
    except ValueError:
        try:
            found = [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name}: not JSON: {error}") from None
    if isinstance(found, Mapping):
        found = found.get("keys", [found])
    if not isinstance(found, list) or not all(isinstance(row, Mapping) and "token" in row for row in found):
        raise ConfigError(f'{name}: a list of rows of "LiteLLM_VerificationToken" is needed, each with its token')
    return found


def window_of(duration: object) -> tuple[str, bool]:
    """The window for LiteLLM's duration, and whether it is as long. A longer window with the same limit is stricter."""
    if duration is None or duration == "":
        return "WINDOW_NONE", True
    found = re.fullmatch(r"(\d+)(mo|[smhdwy])", str(duration).strip().lower())
    seconds = int(found[1]) * UNITS_S[found[2]] if found else NAMED_S.get(str(duration).strip().lower(), 0)
    if seconds > 0:
        for window, shortest_s, longest_s, _ in WINDOWS:
            if seconds <= longest_s:
                return window, seconds >= shortest_s
    return "WINDOW_NONE", False


def budget_of(amount: object, duration: object, spend: object = 0) -> tuple[Budget | None, str]:
    """A limit for LiteLLM's, and what differs; (None, why) when the amount is none. What never resets is reduced by
    what was spent already."""
    window, same = window_of(duration)
    try:
        limit, spent = Decimal(str(amount)), Decimal(str(spend or 0))
        if not limit.is_finite() or not spent.is_finite() or max(limit, spent).adjusted() > MOST_DIGITS:
            raise decimal.InvalidOperation
    except decimal.InvalidOperation:
        return None, f"{amount!r} is no budget: set one with `dac budget set`"
    said = ""
    if window == "WINDOW_NONE" and spent > 0:
        limit -= spent
        said = f"what was spent already ({spent.normalize():f} dollars) is taken off the limit"
    if not same:
        longer = {name: called for name, _, _, called in WINDOWS}.get(window, "all time")
        said = f'DAC has no window of "{duration}": the same limit holds for {longer}, which is stricter'
    nano = int((max(limit, Decimal(0)) * 1_000_000_000).to_integral_value(decimal.ROUND_FLOOR))
    return Budget(window, min(nano, 2**62)), said


class Keys:
    """Reads the rows of a dump."""

    def __init__(self, models: Collection[str], groups: Mapping[str, Sequence[str]], now: dt.datetime) -> None:
        self._models, self._groups, self._now = models, groups, now
        self.notes: list[Note] = []
        self._kept: set[str] = set()

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[Key]:
        """The keys that can be taken over; the others are noted."""
        found = (self._key(index, row) for index, row in enumerate(rows))
        return [key for key in found if key is not None]

    def _note(self, where: str, kind: str, text: str) -> None:
        self.notes.append(Note(0, where, kind, text))

    def _key(self, index: int, row: Mapping[str, Any]) -> Key | None:
        token = str(row["token"])
        alias = str(row.get("key_alias") or "")
        name = "".join(c if c.isprintable() else "?" for c in alias)[:100] or f"litellm {index + 1}"
        where = f"keys[{index}] ({name})"
        if row.get("team_id") == PAGES_TEAM:
            return None
        if token.startswith("sk-"):
            token = hashlib.sha256(token.encode()).hexdigest()
            self._note(where, DO, "the dump holds the whole key: delete the dump when you are done")
        if not re.fullmatch(r"[0-9a-f]{64}", token):
            self._note(where, NONE, "left out: its token is no SHA-256")
            return None
        if token in self._kept:
            self._note(where, CHANGED, "left out: the same key stands above")
            return None
        listed = row.get("models") or []
        if not isinstance(listed, list):
            # A text would be read letter by letter, and a "*" in it as every model.
            self._note(where, DO, f"left out: its models are no list but a {type(listed).__name__}; write a list")
            return None
        models = self._models_of(listed, where)
        expires_at = self._expiry(row.get("expires"), where)
        if models is None or expires_at is None:
            return None
        budget = None
        if row.get("max_budget") is not None:
            budget, said = budget_of(row["max_budget"], row.get("budget_duration"), row.get("spend"))
            if budget is None:
                self._note(where, NONE, f"left out: max_budget {said}")
                return None
            if said:
                self._note(where, CHANGED, f"max_budget: {said}")
        rates = self._rates(row, where)
        if rates is None:
            return None
        for field, why in NOT_ENFORCED.items():
            if row.get(field):
                self._note(where, NONE, f"{field} is not carried over: {why}")
        if row.get("team_id"):
            self._note(
                where, NONE, f"its team ({row['team_id']}) is not carried over, nor the team's models and budget"
            )
        self._kept.add(token)
        last = re.fullmatch(r"sk-\.\.\.(\S{1,8})", str(row.get("key_name") or ""))
        return Key(
            token, name, f"sk-…{last[1]}" if last else "", models, expires_at, bool(row.get("blocked")), budget, rates
        )

    def _rates(self, row: Mapping[str, Any], where: str) -> RateLimit | None:
        """What the key may ask; None = it cannot be read."""
        found: list[int | None] = []
        for field in RATES:
            found.append(None if row.get(field) is None else whole(row[field]))
            if row.get(field) is not None and found[-1] is None:
                self._note(where, NONE, f"left out: {field} {str(row[field])[:40]!r} is no limit")
                return None
        return RateLimit(*found)

    def _models_of(self, listed: Sequence[Any], where: str) -> tuple[str, ...] | None:
        """The key's models; empty = all, None = it cannot be said."""
        found: list[str] = []
        for one in map(str, listed):
            if one in EVERY_MODEL:
                return ()
            if one == "no-default-models" or one == "all-team-models":
                self._note(where, DO, f'left out: which models "{one}" are is not in the dump; write their names there')
                return None
            if one in self._groups:
                found += self._groups[one]
            elif not PATTERN.fullmatch(one):
                self._note(where, NONE, f'its model "{one[:80]}" is left out: not a name in DAC')
            else:
                if one not in self._models and "*" not in one:
                    self._note(where, DO, f'it may use "{one}", which is no model of the configuration')
                found.append(one)
        if listed and not found:
            self._note(where, NONE, "left out: none of its models can be named in DAC")
            return None
        return tuple(dict.fromkeys(found))

    def _expiry(self, raw: object, where: str) -> str | None:
        """RFC 3339; empty = never, None = it cannot be read. LiteLLM's times are UTC."""
        if raw is None or raw == "":
            return ""
        try:
            at = dt.datetime.fromisoformat(str(raw))
            at = (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self._note(where, NONE, f'left out: it expires at "{raw}", which is no time')
            return None
        if at <= self._now:
            self._note(where, CHANGED, "it has expired, and is refused as expired")
        return at.isoformat().replace("+00:00", "Z")
