"""How an attempt fails, and what may be done about it. Messages hold no prompt text."""

import re
from collections.abc import Mapping
from typing import Any

from mesh.errors import MeshError, Reason
from mesh.sse import EventTooLarge
from services.provider.error_bodies import (
    MAX_ERROR_BODY_BYTES,
    bounded,
    flagged,
    google_detail,
    google_error,
    google_wait,
    kind_of,
)

MAX_MESSAGE = 500
_CONTEXT = re.compile(
    rb"context_length_exceeded|maximum context length|prompt is too long|exceed_context_size|context window"
    rb"|input token count[^.]{0,60}exceeds the maximum|maximum prompt length|exceeded model token limit"
    rb"|number of tokens to keep from the initial prompt|too many tokens: |input is too long for requested model"
    rb"|input length exceeds the context length",
    re.I,
)
_BAD_KEY = re.compile(rb"incorrect api key", re.I)
_MODELS_FAULT = frozenset({"tool_use_failed", "json_validate_failed"})
"""Kinds of a 400 that blame what the model made, not the request (Groq)."""
_FILTERED = frozenset({"content_policy_violation", "content_filter", "content_policy", "moderation_blocked"})
"""Kinds of a refusal by a provider's filter of contents."""
_LIMITED = frozenset(
    {
        "429",
        "rate_limit_error",
        "rate_limit_exceeded",
        "rate_limited",
        "tokens",
        "requests",
        "RESOURCE_EXHAUSTED",
        "throttlingException",
    }
)
"""Kinds of an error in a stream that say that a rate limit is reached; "tokens" and "requests" are OpenAI's types."""
_NO_CREDIT = "insufficient_quota"
"""OpenAI's code of a 429 that waiting does not mend: the account has nothing left to spend."""
_SAME_AGAIN = frozenset({500, 502, 503, 504, 529})
_CALLERS_FAULT = frozenset({400, 413, 422})


class ProviderFault(Exception):
    """One attempt failed."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        status_code: int = 0,
        retry_after_s: float | None = None,
        retry: bool = False,
        fall_back: bool = True,
        body: bytes = b"",
        out_of_time: bool = False,
        filtered: bool = False,
        keys_limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message[:MAX_MESSAGE]
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.retry = retry
        """The same provider may be asked once more."""
        self.fall_back = fall_back
        """Another candidate may do better."""
        self.body = body
        """The provider's own error body, when the fault is the caller's."""
        self.out_of_time = out_of_time
        """All the time for the answer is spent: nobody goes on with it."""
        self.filtered = filtered
        """The provider's filter of contents refused the prompt: another provider may be asked if config says so."""
        self.rate_limited = keys_limited or reason is Reason.PROVIDER_RATE_LIMITED
        """The provider's own limit is in the way, now or for all keys a moment ago: waiting mends it."""


def refused_status(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFault:
    """The fault that an HTTP status other than 200 means."""
    kind = kind_of(body)
    told = f"{provider} answered {status}{f' ({kind})' if kind else ''}"
    google = google_error(body)
    if status == 403 and flagged(body):
        message = f"{told}: its moderation refused the prompt."
        return ProviderFault(
            Reason.PROVIDER_REFUSED, message, status_code=status, fall_back=False, body=bounded(body), filtered=True
        )
    if status in (401, 403) or (status == 400 and _blames_key(google, body)):
        return ProviderFault(
            Reason.PROVIDER_FAILED,
            f"{told}: it refused DAC's own key for this provider. Set a valid key for {provider}.",
            status_code=status,
        )
    if status == 429 and kind == _NO_CREDIT:
        message = f"{told}: the account of the key has nothing left to spend there. Look at that account."
        return ProviderFault(Reason.PROVIDER_FAILED, message, status_code=status)
    if status == 429:
        wait = _retry_after(headers)
        if wait is None and google:
            wait = google_wait(google)
        return ProviderFault(
            Reason.PROVIDER_RATE_LIMITED,
            f"{told}: its rate limit is reached{f', it asks to wait {wait:g} s' if wait is not None else ''}.",
            status_code=status,
            retry_after_s=wait,
            retry=True,
        )
    if status == 400 and google and google.get("status") == "FAILED_PRECONDITION":
        message = f"{told}: it does not serve DAC's account or place. Look at the account of the key for {provider}."
        return ProviderFault(Reason.PROVIDER_FAILED, message, status_code=status)
    if status == 400 and kind in _MODELS_FAULT:
        return ProviderFault(Reason.PROVIDER_FAILED, f"{told}.", status_code=status, retry=True)
    if status in _CALLERS_FAULT:
        if _CONTEXT.search(body[:MAX_ERROR_BODY_BYTES]):
            message = f"{told}: the prompt does not fit the model's context. Shorten it or choose a larger model."
            return ProviderFault(Reason.CONTEXT_TOO_LONG, message, status_code=status, body=bounded(body))
        return ProviderFault(
            Reason.PROVIDER_REFUSED,
            f"{told}: it refused the request as wrong.",
            status_code=status,
            fall_back=False,
            body=bounded(body),
            filtered=kind in _FILTERED,
        )
    if status == 404:
        message = f"{told}: it does not know this model or path. Check the model's name and the provider's base_url."
        return ProviderFault(Reason.PROVIDER_REFUSED, message, status_code=status, body=bounded(body))
    if 300 <= status < 400:
        message = f"{told}: redirects are not followed. Set the provider's base_url to its final address."
        return ProviderFault(Reason.PROVIDER_FAILED, message, status_code=status)
    return ProviderFault(
        Reason.PROVIDER_FAILED,
        f"{told}.",
        status_code=status,
        retry_after_s=_retry_after(headers),
        retry=status in _SAME_AGAIN,
    )


def _blames_key(google: dict[str, Any] | None, body: bytes) -> bool:
    """Whether a 400 is about DAC's own key: Google and xAI say so with one."""
    if google:
        return google_detail(google, "reason") == "API_KEY_INVALID"
    return bool(_BAD_KEY.search(body[:MAX_ERROR_BODY_BYTES]))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait; dates are not read."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 86_400:
            return seconds
    return None


def timed_out(
    provider: str, what: str, seconds: float, *, retry: bool = False, out_of_time: bool = False
) -> ProviderFault:
    """One rung of the timeout ladder was reached."""
    message = f"{provider}: {what} took longer than {round(seconds, 2):g} s."
    return ProviderFault(Reason.PROVIDER_TIMEOUT, message, retry=retry, out_of_time=out_of_time)


def unreachable(provider: str, detail: str) -> ProviderFault:
    """The connection could not be made, or broke before the headers."""
    return ProviderFault(Reason.PROVIDER_FAILED, f"{provider} could not be reached: {detail}.", retry=True)


def garbage(provider: str, detail: str) -> ProviderFault:
    """The answer is not what the dialect promises."""
    return ProviderFault(Reason.PROVIDER_FAILED, f"{provider} sent an answer that cannot be read: {detail}.")


UNREADABLE = (EventTooLarge, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading an answer of an unexpected shape raises."""


def unreadable(provider: str, error: Exception) -> ProviderFault:
    """The fault behind one of UNREADABLE."""
    if isinstance(error, EventTooLarge):
        return garbage(provider, str(error))
    return garbage(provider, f"its shape is not the dialect's ({type(error).__name__})")


class reading:
    """Around code that reads an answer: JSON of an unexpected shape is the provider's failure, not DAC's.

    See UNREADABLE.
    """

    __slots__ = ("_provider",)

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, UNREADABLE):
            raise unreadable(self._provider, error) from None


def cut(provider: str, detail: str) -> ProviderFault:
    """The answer ended before its end."""
    return ProviderFault(Reason.PROVIDER_CUT, f"{provider} cut its answer short: {detail}.", retry=True)


def differs(provider: str) -> ProviderFault:
    """An answer that should go on behind what was shown began anew with other words.

    That is no sign of ill health: where one provider breaks, those that stand in for it would be given up as well.
    """
    return ProviderFault(
        Reason.PROVIDER_REFUSED, f"{provider} did not go on with the broken answer: it began another one."
    )


def stream_error(provider: str, kind: str) -> ProviderFault:
    """An error event came in the stream."""
    shown = kind if re.fullmatch(r"[\w.\-]{1,64}", kind) else "unnamed"
    if kind in _LIMITED:
        message = f"{provider} reported in its stream that its rate limit is reached ({shown})."
        return ProviderFault(Reason.PROVIDER_RATE_LIMITED, message, status_code=429, retry=True)
    return ProviderFault(Reason.PROVIDER_FAILED, f"{provider} reported an error in mid-stream ({shown}).", retry=True)


def busy(provider: str) -> ProviderFault:
    """The provider's queue here is full."""
    return ProviderFault(
        Reason.PROVIDER_BUSY, f"{provider}: every place and its waiting line are taken.", retry_after_s=1.0
    )


def not_configured(provider: str, detail: str = "") -> ProviderFault:
    """No such provider, or it is switched off."""
    return ProviderFault(
        Reason.PROVIDER_FAILED, f'The provider "{provider}" is not configured{f": {detail}" if detail else ""}.'
    )


def no_usable_key(
    provider: str, *, of_organisation: bool, keys: int, wait_s: float | None, limited: bool = False
) -> ProviderFault:
    """Every key that could be taken is switched off, does not open, or rests after a refusal; `limited`: all of them
    because they were over their rate limit."""
    whose = f"your organisation's {keys} key(s) for {provider}" if of_organisation else f"the keys for {provider}"
    if wait_s is not None:
        told = (
            f"None of {whose} can be used right now: each {'was refused or ' if not limited else ''}is over its rate "
            "limit. See ListProviderKeys."
        )
        wait_s = max(1.0, round(wait_s, 1))
        return ProviderFault(Reason.PROVIDER_BUSY, told, retry_after_s=wait_s, keys_limited=limited)
    told = f"None of {whose} can be used: each is switched off, or must be set again. See ListProviderKeys."
    return ProviderFault(Reason.FAILED_PRECONDITION, told)


def of_own_key(fault: ProviderFault, provider: str, hint: str) -> None:
    """Says of a refused key that it is the organisation's, so that the right one is mended."""
    shown = f" ending in {hint}" if hint else ""
    fault.message = fault.message.replace(
        f"DAC's own key for this provider. Set a valid key for {provider}.",
        f"your organisation's key{shown}. Replace it with UpdateProviderKey.",
    )


def unknown_key(key_id: str) -> MeshError:
    """A key that is not there, or not the caller's."""
    return MeshError(Reason.NOT_FOUND, f'There is no provider key "{key_id[:80]}".')


def not_translatable(detail: str) -> ProviderFault:
    """The request cannot be said in the provider's dialect."""
    return ProviderFault(Reason.INVALID_REQUEST, detail, fall_back=True)


def cannot_embed(model: str, provider: str, kind: str) -> ProviderFault:
    """The provider's API has no embeddings of OpenAI's form."""
    return not_translatable(
        f"{model} cannot embed: {provider} is of kind {kind}, which has no embeddings of OpenAI's form. "
        "Name an embedding model of a provider that makes them."
    )


def no_audio(model: str, provider: str, kind: str, operation: str) -> ProviderFault:
    """The provider's API has no such path of OpenAI's form."""
    return not_translatable(
        f"{model} cannot be asked for a {operation}: {provider} is of kind {kind}, which has none of OpenAI's form. "
        f"Name a {operation} model of a provider that has it."
    )


def unknown_provider(provider: str) -> MeshError:
    """RemoveProvider on something that is not there."""
    return MeshError(Reason.NOT_FOUND, f'There is no provider "{provider}".', metadata={"provider": provider})


def managed_by_file(provider: str, managed_by: str) -> MeshError:
    """A change to what stands in a file or the environment."""
    return MeshError(
        Reason.MANAGED_BY_FILE,
        f'The provider "{provider}" comes from the {managed_by}: change it there.',
        metadata={"provider": provider, "managed_by": managed_by},
    )


def key_refused(provider: str, status: int, told: str) -> MeshError:
    """The test call of AddProvider failed."""
    detail = "its key was refused" if status in (401, 403) else told
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"{provider}: the test call failed, {detail}. Nothing was stored. Mend it, or set skip_test.",
        metadata={"provider": provider, "status": str(status)},
    )


def not_listable(provider: str, why: str) -> MeshError:
    """A provider that has no list of models to ask for."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The models of "{provider}" cannot be listed: '
        f"{why or 'it is switched off, or its kind has no list'}. Leave it out.",
        metadata={"field": "providers"},
    )
