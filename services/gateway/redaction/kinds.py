"""The kinds of private values, and what a policy may say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mesh import secret_shapes
from mesh.errors import invalid
from mesh.mail_addresses import EMAIL

PHONE, CARD, IBAN, SSN, IP, CRYPTO, NATIONAL_ID = "phone", "card", "iban", "ssn", "ip", "crypto", "national_id"
KINDS = (*secret_shapes.KINDS, EMAIL, IBAN, CARD, SSN, NATIONAL_ID, CRYPTO, IP, PHONE)
"""All kinds; of two that claim the same characters the earlier one names them."""
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "CH", "AT", "PL", "BR", "MX", "IN", "JP", "AU")
"""Countries whose telephone numbers are known without their country code."""
RANK = {kind: rank for rank, kind in enumerate(KINDS)}
LABELS = {kind: kind.upper() for kind in KINDS}
"""What a placeholder calls a value of the kind."""


class Match(NamedTuple):
    """One private value in a text."""

    kind: str
    start: int
    end: int


def checked_kinds(kinds: Iterable[str], field: str = "kinds") -> tuple[str, ...]:
    """The kinds that are named, each once; none named = all. Raises INVALID_REQUEST."""
    named = tuple(dict.fromkeys(kinds))
    for kind in named:
        if kind not in RANK:
            raise invalid(field, f'"{kind[:40]}" is no kind of private values: use {", ".join(KINDS)}.')
    return named or KINDS


def checked_regions(regions: Iterable[str], field: str = "regions") -> tuple[str, ...]:
    """The countries that are named; none named = the usual ones. Raises INVALID_REQUEST."""
    named = tuple(dict.fromkeys(region.upper() for region in regions))
    for region in named:
        if len(region) != 2 or not (region.isascii() and region.isalpha()):
            raise invalid(field, f'"{region[:40]}" is no country: use codes of two letters such as DE.')
    if len(named) > 32:
        raise invalid(field, f"{len(named)} countries are named; at most 32 are tried for a number.")
    return named or REGIONS
