"""Signing a request to Amazon Web Services by an access key (Signature Version 4)."""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_PAIR = re.compile(r"([A-Z0-9]{16,128}):([^:\s]+)(?::(\S+))?")
_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class AccessKey(NamedTuple):
    """An access key, and the token of a session when it is a temporary one."""

    key_id: str
    secret: str
    token: str = ""


def access_key_of(api_key: str) -> AccessKey | None:
    """KEY_ID:SECRET or KEY_ID:SECRET:SESSION_TOKEN; None for a key of another form, which is a bearer's."""
    found = _PAIR.fullmatch(api_key)
    return AccessKey(found[1], found[2], found[3] or "") if found else None


def region_of(host: str) -> str:
    """The region in the name of a host of Bedrock's; empty when it has none."""
    found = _REGION.search(host)
    return found[1] if found else ""


def signed(
    url: str, headers: Mapping[str, str], body: bytes, key: AccessKey, *, region: str, service: str, now_s: float
) -> dict[str, str]:
    """The headers of a POST with its date and signature. The address must be quoted as it is sent, without a query."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    address = urlsplit(url)
    made = {**headers, "X-Amz-Date": at}
    if key.token:
        made["X-Amz-Security-Token"] = key.token
    covered = {name.lower(): " ".join(value.split()) for name, value in made.items()} | {"host": host_of(url)}
    names = ";".join(sorted(covered))
    request = [
        "POST",
        # Quoted once more, as every service but S3 wants it.
        quote(address.path or "/", safe="/~"),
        "",
        *(f"{name}:{covered[name]}" for name in sorted(covered)),
        "",
        names,
        hashlib.sha256(body).hexdigest(),
    ]
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    step = f"AWS4{key.secret}".encode()
    for part in (at[:8], region, service, "aws4_request"):
        step = hmac.digest(step, part.encode(), "sha256")
    signature = hmac.digest(step, f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}".encode(), "sha256").hex()
    made["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return made


def host_of(url: str) -> str:
    """The Host header of an address."""
    address = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(address.scheme)
    name = address.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if address.port in (None, usual) else f"{name}:{address.port}"
