"""What a page's form sends: a few short fields, and dollars as people type them."""

import asyncio
import urllib.parse
from decimal import Decimal

from starlette.requests import ClientDisconnect, Request

from mesh.errors import MeshError, Reason, invalid

FORM_BYTES = 32 * 1024
FORM_FIELDS = 50
FORM_S = 15.0
"""How long a form may take to arrive; who sends one need not be signed in."""


async def read_form(request: Request) -> dict[str, str]:
    """A small form; fields that come more than once are joined by spaces. Raises INVALID_REQUEST or TOO_LARGE."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(FORM_S):
            async for part in request.stream():
                size += len(part)
                if size > FORM_BYTES:
                    raise MeshError(Reason.TOO_LARGE, f"The form is larger than {FORM_BYTES // 1024} KiB.")
                parts.append(part)
    except TimeoutError:
        raise MeshError(Reason.DEADLINE_EXCEEDED, "The form did not arrive in time. Send it again.") from None
    except ClientDisconnect:
        raise MeshError(Reason.CANCELLED, "The client went away.") from None
    try:
        pairs = urllib.parse.parse_qsl(
            b"".join(parts).decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS
        )
    except ValueError:
        raise invalid("body", "This is not a form.") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        form[name] = f"{form[name]} {value}" if name in form else value
    return form


def nano_usd(typed: str) -> int:
    """Dollars as typed → nano-USD, exact. Raises INVALID_REQUEST."""
    try:
        amount = Decimal(typed.strip().lstrip("$"))
        exact = amount * 1_000_000_000
        if amount.is_finite() and 0 <= exact < 2**62 and exact == exact.to_integral_value():
            return int(exact)
    except ArithmeticError:
        pass
    raise invalid("limit", f'"{typed[:40]}" is no amount of dollars: write e.g. 5 or 0.25.')
