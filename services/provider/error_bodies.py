"""What a provider's error body says, whatever its form."""

import re
from typing import Any

import msgspec

MAX_ERROR_BODY_BYTES = 16 * 1024
"""More of a body is not read, and a longer one is not passed on."""


def flagged(body: bytes) -> bool:
    """Whether a 403 is about the prompt: OpenRouter's moderation says so in the error's metadata. Were it taken for a
    refused key, whoever sends such prompts would make the provider pass for broken."""
    try:
        metadata = msgspec.json.decode(body[:MAX_ERROR_BODY_BYTES])["error"]["metadata"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return False
    return isinstance(metadata, dict) and ("flagged_input" in metadata or bool(metadata.get("reasons")))


def kind_of(body: bytes) -> str:
    """The error's type as the provider names it: an identifier, never free text."""
    google = google_error(body)
    if google and isinstance(google.get("status"), str):
        return google["status"] if re.fullmatch(r"\w{1,64}", google["status"]) else ""
    try:
        said = msgspec.json.decode(body[:MAX_ERROR_BODY_BYTES])
        error = said["error"] if isinstance(said.get("error"), dict) else said
        kind = str(error.get("code") or error.get("type") or "")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return kind if re.fullmatch(r"[\w.\-]{1,64}", kind) else ""


def openai_error(body: bytes) -> bytes:
    """An error body in OpenAI's form: untouched when it is, said again when the provider has a form of its own.

    Mistral puts message, type and code at the top, with a list under `detail` for a wrong field; Hugging Face, xAI and
    LM Studio have a text under `error`; vLLM has Mistral's.
    """
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(said, dict) or isinstance(said.get("error"), dict):
        return body
    told = said.get("error") or said.get("message") or said.get("detail")
    if isinstance(told, dict):
        told = told.get("detail") or told
    if isinstance(told, list):
        told = "; ".join(_wrong_field(one) for one in told)
    if not told:
        return body
    kind, code = said.get("type") or said.get("error_type"), said.get("code")
    message = told if isinstance(told, str) else msgspec.json.encode(told).decode()
    made = {"message": message, "type": kind or "invalid_request_error", "param": said.get("param"), "code": code}
    return msgspec.json.encode({"error": made})


def _wrong_field(detail: Any) -> str:
    """ "body.seed: Extra inputs are not permitted" of one entry of a validation error."""
    if not isinstance(detail, dict):
        return str(detail)
    where = detail.get("loc")
    return f"{'.'.join(map(str, where)) if isinstance(where, list) else ''}: {detail.get('msg', '')}".lstrip(": ")


def google_error(body: bytes) -> dict[str, Any] | None:
    """The google.rpc.Status in an error body, which may stand in a list; None when there is none."""
    try:
        decoded = msgspec.json.decode(body[:MAX_ERROR_BODY_BYTES])
    except (ValueError, RecursionError):
        return None
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error if isinstance(error, dict) and "status" in error else None


def google_detail(error: dict[str, Any], name: str) -> str:
    """The first text of that name among the error's details."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get(name), str):
            return str(detail[name])
    return ""


def google_wait(error: dict[str, Any]) -> float | None:
    """The seconds of a google.rpc.RetryInfo ("34.07s")."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,9})?)s", google_detail(error, "retryDelay"))
    return float(found[1]) if found else None


def bounded(body: bytes) -> bytes:
    """The body when it is small JSON, nothing otherwise."""
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return b""
    return body if len(body) <= MAX_ERROR_BODY_BYTES else b""
