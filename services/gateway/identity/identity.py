"""Organisations and keys: who may make what, the first start, and telling audit of every change."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import pathlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mesh.admin_record import Change, admin_change
from mesh.config import Secret
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid, uuid7
from mesh.keyring import Keyring
from services.gateway import errors
from services.gateway.identity import key_tokens, peppers
from services.gateway.identity.callers import KNOWN_SCOPES, foreign_place, hash_token
from services.gateway.identity.operator_token import read_operator_token
from services.gateway.identity.organisations import Organisations, TellNames, check_name, name_taken
from services.gateway.identity.places import named_id
from services.gateway.identity.rows import KeyInfo, KeyPlace, NewKey, OrganisationRow
from services.gateway.identity.store import Store
from services.gateway.identity.tree import Tree

DEFAULT = "default"
"""The first organisation's name."""
DEFAULT_SCOPES = ("chat", "read")
FIRST_SCOPES = ("chat", "read", "admin")
TELL_EVERY_S = 1.0
MOST_FOREIGN_KEYS = 500
MOST_PATTERNS = 200
"""How many models a key names: what it may use is looked up for every request. Policies have the same bound."""
_WIDER = {"chat": {"operator"}, "read": {"operator", "admin"}, "admin": {"operator"}, "operator": set()}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATTERN = re.compile(r"[A-Za-z0-9._:/*-]{1,200}")
_log = logging.getLogger("dac.gateway.identity")

Append = Callable[[Sequence[bytes]], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class ForeignKey:
    """A key that another gateway made."""

    sha256: str
    name: str
    hint: str = ""
    models: tuple[str, ...] = ()
    expires_at: dt.datetime | None = None
    blocked: bool = False


class Identity:
    """What IdentityService does, without the wire."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        append: Append,
        secrets_dir: pathlib.Path,
        tell_names: TellNames | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._store, self._keyring, self._clock = store, keyring, clock
        self._append = append
        self.peppers = peppers.derived(keyring)
        self.bound_to = ""
        self._secrets_dir = secrets_dir
        self._news = asyncio.Event()
        self._teller: asyncio.Task[None] | None = None
        self.default_org_id = ""
        self.operator_token = ""
        self.tree = Tree(store, self._change, self._news.set, clock)
        self.known = Organisations(store, self._change, self._news.set, tell_names, clock)

    async def bootstrap(self, wanted: Secret | None, operator: Secret | None = None) -> str | None:
        """Makes sure of the organisation `default`, the operator's token and a first key.

        Returns the token to show once, or None. Raises FAILED_PRECONDITION for a weak bootstrap key or a database of
        another master key.
        """
        if wanted is not None:
            key_tokens.check_strength(wanted.reveal(), "DAC_BOOTSTRAP_API_KEY")
        if operator is not None:
            key_tokens.check_strength(operator.reveal(), "DAC_OPERATOR_TOKEN")
        self.bound_to, sealed = await self._store.bind_master_key(self._keyring.id)
        self.peppers = peppers.opened(self._keyring, self.bound_to, sealed)
        kept = self._secrets_dir / "operator.token"
        self.operator_token = operator.reveal() if operator is not None else read_operator_token(kept)
        await self._ensure_default()
        keyless = not await self._store.keys(self.default_org_id, 1, None)
        if wanted is not None:
            if await self._add_at_start(wanted.reveal(), "bootstrap") and not keyless:
                _log.warning("DAC_BOOTSTRAP_API_KEY is a key this database did not know: added it")
            return None
        token = key_tokens.new_token(secrets.choice)
        return token if keyless and await self._add_at_start(token, "first", only_first=True) else None

    @property
    def _pepper(self) -> bytes:
        return self.peppers[peppers.API_KEYS]

    async def rotate_master_key(self, actor: str, *, check_only: bool) -> tuple[str, str]:
        """Seals the peppers by the present master key; the key they are bound to now, and the present one's id."""
        self.bound_to, _ = await self._store.bind_master_key(self._keyring.id)
        if self.bound_to != self._keyring.id and not check_only:
            sealed, org_id, present = peppers.seal(self._keyring, self.peppers), self.default_org_id, self._keyring.id
            ids = {"master_key_id": self.bound_to}, {"master_key_id": present}
            change = self._change(org_id, actor, "master_key.rotate", f"master_key:{present}", *ids)
            if await self._store.rebind_master_key(self.bound_to, present, sealed, org_id, change):
                self._news.set()
            self.bound_to, _ = await self._store.bind_master_key(self._keyring.id)
        return self.bound_to, self._keyring.id

    async def _add_at_start(self, token: str, name: str, *, only_first: bool = False) -> bool:
        key, change = self._new_key(token, self.default_org_id, name, FIRST_SCOPES, (), None, "operator")
        lookup_id, hashed = key_tokens.parse(token).lookup_id, hash_token(self._pepper, token)
        added = await self._store.add_bootstrap_key(key, lookup_id, hashed, change, only_first=only_first)
        if added:
            self._news.set()
        return added

    async def _ensure_default(self) -> None:
        for _ in range(2):
            for row in await self._store.organisations():
                if row.name == DEFAULT:
                    self.default_org_id = row.org_id
                    return
            row = OrganisationRow(uuid7(), DEFAULT, self._clock())
            change = self._change(
                row.org_id, "operator", "organisation.create", f"organisation:{row.org_id}", None, {"name": DEFAULT}
            )
            if await self._store.add_organisation(row, change):
                self._news.set()
                self.default_org_id = row.org_id
                return
        raise MeshError(Reason.INTERNAL, "The organisation `default` could not be made.")

    async def start(self) -> None:
        """Tells the router what organisations are called, and begins telling audit."""
        await self.known.tell_names()
        self._teller = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Stops; what was not told yet is told after the next start."""
        if self._teller is not None:
            self._teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._teller

    async def _tell(self) -> None:
        self._news.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY_S * 30):
                    await self._news.wait()
            self._news.clear()
            await self.known.tell_names()
            try:
                for row in await self._store.organisations():
                    if row.has_changes:
                        changes = await self._store.changes(row.org_id)
                        await self._append([change.record for change in changes])
                        await self._store.told(row.org_id, [change.record_id for change in changes])
            except Exception as error:
                # Whatever it was: what is not told now is told later, and telling never ends.
                _log.warning("audit was not told of a change yet: %s", error, exc_info=not isinstance(error, MeshError))
                self._news.set()
                await asyncio.sleep(TELL_EVERY_S)

    def _change(self, org_id: str, actor: str, action: str, target: str, before: object, after: object) -> Change:
        return admin_change(action, target, self._clock(), org_id=org_id, before=before, after=after, actor=actor)

    async def create_organisation(self, name: str, actor: str) -> OrganisationRow:
        """A new organisation. Raises INVALID_REQUEST or ALREADY_EXISTS."""
        check_name(name)
        row = OrganisationRow(uuid7(), name, self._clock())
        change = self._change(
            row.org_id, actor, "organisation.create", f"organisation:{row.org_id}", None, {"name": name}
        )
        if not await self._store.add_organisation(row, change):
            raise name_taken(name)
        await self.known.changed()
        return row

    async def organisations(self) -> list[OrganisationRow]:
        """All of them."""
        return await self._store.organisations()

    async def create_key(
        self,
        org_id: str,
        name: str,
        scopes: Sequence[str],
        models: Sequence[str],
        expires_at: dt.datetime | None,
        *,
        held: Sequence[str],
        held_models: Sequence[str] = (),
        actor: str,
        team_id: str = "",
        project_id: str = "",
        user_id: str = "",
        without_persona: bool = False,
    ) -> tuple[KeyInfo, str]:
        """A new key and its token. Raises INVALID_REQUEST, NOT_FOUND for a place that there is not, or
        PERMISSION_DENIED for what the caller itself lacks."""
        wanted = tuple(dict.fromkeys(scopes)) or DEFAULT_SCOPES
        for scope in wanted:
            if scope not in KNOWN_SCOPES:
                raise invalid("scopes", f'"{scope[:40]}" is not a scope: use {", ".join(KNOWN_SCOPES)}.')
            if scope not in held and not _WIDER[scope] & set(held):
                raise MeshError(
                    Reason.PERMISSION_DENIED,
                    f'You cannot give the scope "{scope}", because your own key does not have it.',
                    metadata={"field": "scopes", "scope": scope},
                )
        _check_shown(name, models)
        if held_models and not (models and set(models) <= set(held_models)):
            raise MeshError(
                Reason.PERMISSION_DENIED,
                f"Your own key may use only {', '.join(held_models)}: name some of these as models.",
                metadata={"field": "models"},
            )
        if expires_at is not None and expires_at <= self._clock():
            raise invalid("expires_at", f"{expires_at.isoformat()} has passed already.")
        token = key_tokens.new_token(secrets.choice)
        place = {"team_id": team_id, "project_id": project_id, "user_id": user_id}
        place = {field: named_id(field, given) for field, given in place.items()}
        key, change = self._new_key(
            token, org_id, name, wanted, tuple(models), expires_at, actor, without_persona=without_persona, **place
        )
        lookup_id, hashed = key_tokens.parse(token).lookup_id, hash_token(self._pepper, token)
        key = await self._store.add_key(key, lookup_id, hashed, change)
        self._news.set()
        return key, token

    def _new_key(
        self,
        token: str,
        org_id: str,
        name: str,
        scopes: tuple[str, ...],
        models: tuple[str, ...],
        expires_at: dt.datetime | None,
        actor: str,
        *,
        without_persona: bool = False,
        **place: str,
    ) -> tuple[KeyInfo, Change]:
        parsed = key_tokens.parse(token)
        stands: dict[str, Any] = {**place, "without_persona": without_persona}
        key = KeyInfo(org_id, uuid7(), name, parsed.prefix, scopes, models, self._clock(), expires_at, None, **stands)
        after: dict[str, Any] = {"name": name, "scopes": scopes, "models": models, "prefix": parsed.prefix}
        after |= {field: given for field, given in place.items() if given}
        after |= {"without_persona": True} if without_persona else {}
        return key, self._change(org_id, actor, "key.create", f"key:{key.key_id}", None, after)

    async def import_keys(
        self, org_id: str, keys: Sequence[ForeignKey], source: str, actor: str
    ) -> list[tuple[KeyInfo, bool]]:
        """Takes over another gateway's keys, all or none: each key that stands now, and whether it was added.

        Raises INVALID_REQUEST, or ALREADY_EXISTS for a key that another organisation has.
        """
        if not re.fullmatch(r"[a-z0-9-]{1,40}", source):
            raise invalid("source", f'"{source[:40]}" is no source: say whose keys they are, e.g. "litellm".')
        if not 1 <= len(keys) <= MOST_FOREIGN_KEYS:
            raise invalid("keys", f"Send 1 to {MOST_FOREIGN_KEYS} keys at once, not {len(keys)}.")
        wanted = [self._foreign(org_id, index, key, source, actor) for index, key in enumerate(keys)]
        standing = await self._store.add_foreign_keys(org_id, wanted)
        self._news.set()
        return [(key, key.key_id == new.key.key_id) for new, key in zip(wanted, standing, strict=True)]

    def _foreign(self, org_id: str, index: int, key: ForeignKey, source: str, actor: str) -> NewKey:
        sha256 = key.sha256.lower()
        if not _SHA256.fullmatch(sha256):
            raise invalid(
                f"keys[{index}].sha256", "A SHA-256 has 64 hexadecimal digits; a key itself is not sent here."
            )
        _check_shown(key.name, key.models)
        if len(key.hint) > 40 or not key.hint.isprintable():
            raise invalid(f"keys[{index}].hint", "What is shown of a key has at most 40 printable characters.")
        lookup_id, hashed = foreign_place(self.peppers[peppers.FOREIGN_KEYS], bytes.fromhex(sha256))
        now = self._clock()
        shown = key.hint or f"sha256:{sha256[:8]}"
        info = KeyInfo(
            org_id,
            uuid7(),
            key.name,
            shown,
            DEFAULT_SCOPES,
            key.models,
            now,
            key.expires_at,
            now if key.blocked else None,
        )
        after = {"name": key.name, "models": key.models, "prefix": shown, "source": source, "blocked": key.blocked}
        change = self._change(org_id, actor, "key.import", f"key:{info.key_id}", None, after)
        return NewKey(info, lookup_id, hashed, change)

    async def keys(self, org_id: str, page_size: int, page_token: str) -> tuple[list[KeyInfo], str]:
        """A page of keys, newest first, and the next page's token."""
        if page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, not {page_size}.")
        size = min(page_size or 50, 1000)
        before = None
        if page_token:
            try:
                at, _, key_id = bytes.fromhex(page_token).decode().partition(" ")
                before = (dt.datetime.fromisoformat(at).astimezone(dt.UTC), key_id)
                if not is_uuid(key_id):
                    raise ValueError
            except (ValueError, OverflowError):
                raise invalid("page_token", "page_token is not one that this list gave: leave it out.") from None
        found = await self._store.keys(org_id, size + 1, before)
        page = found[:size]
        token = f"{page[-1].created_at.isoformat()} {page[-1].key_id}".encode().hex() if found[size:] else ""
        return page, token

    async def update_key(
        self,
        org_id: str,
        key_id: str,
        actor: str,
        *,
        name: str | None = None,
        team_id: str | None = None,
        project_id: str | None = None,
        user_id: str | None = None,
        without_persona: bool | None = None,
    ) -> KeyInfo:
        """Renames or moves a key; None = as it is, "" = out of there. What was spent stays where it was spent.

        Raises NOT_FOUND, or INVALID_REQUEST for a name or a place that is none.
        """
        named = {"team_id": team_id, "project_id": project_id, "user_id": user_id}
        wanted: dict[str, Any] = {field: named_id(field, given) for field, given in named.items() if given is not None}
        if name is not None:
            _check_shown(name, ())
            wanted["name"] = name

        def edit(before: KeyPlace) -> tuple[KeyPlace, Change | None]:
            after = dataclasses.replace(before, **wanted)
            if without_persona is not None:
                after = dataclasses.replace(after, without_persona=without_persona)
            if after == before:
                return before, None
            told = dataclasses.asdict(before), dataclasses.asdict(after)
            return after, self._change(org_id, actor, "key.update", f"key:{key_id}", *told)

        key = await self._store.edit_key(org_id, key_id, edit, teamless=team_id == "") if is_uuid(key_id) else None
        if key is None:
            raise errors.not_found("key", key_id[:80])
        self._news.set()
        return key

    async def revoke(self, org_id: str, key_id: str, actor: str) -> KeyInfo:
        """Revokes a key of the organisation. Raises NOT_FOUND."""
        if not is_uuid(key_id):
            raise errors.not_found("key", key_id[:80])
        now = self._clock()
        change = self._change(org_id, actor, "key.revoke", f"key:{key_id}", None, {"revoked_at": now.isoformat()})
        key = await self._store.revoke(org_id, key_id, now, change)
        if key is None:
            raise errors.not_found("key", key_id)
        self._news.set()
        return key


def _check_shown(name: str, models: Sequence[str]) -> None:
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise invalid("name", "A key's name has 1 to 100 printable characters.")
    if len(models) > MOST_PATTERNS:
        raise invalid("models", f"A key names at most {MOST_PATTERNS} models, not {len(models)}: use patterns.")
    for pattern in models:
        if not _PATTERN.fullmatch(pattern):
            raise invalid("models", f'"{pattern[:80]}" is not a model id or pattern such as "openai/*".')
