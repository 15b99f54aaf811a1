"""Sending a checkpoint to a witness over HTTP: bounded in time and size, no redirects."""

from __future__ import annotations

from services.audit.log.witnessing import MAX_ANSWER, Told, WitnessUnreached

TIMEOUT_S = 10.0


async def post(url: str, body: bytes) -> Told:
    """The witness's answer. Raises WitnessUnreached."""
    # Only who has a witness imports what calls it.
    import aiohttp

    limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"content-type": "text/plain; charset=utf-8", "user-agent": "dac-audit-log"}
    try:
        # A round a minute: a session of its own keeps nothing open in between.
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers, trust_env=False) as session,
            session.post(url, data=body, allow_redirects=False) as answer,
        ):
            text = b""
            async for part in answer.content.iter_any():
                text += part
                if len(text) > MAX_ANSWER:
                    raise WitnessUnreached(f"its answer is longer than {MAX_ANSWER} bytes")
            return Told(answer.status, text.decode("utf-8", "replace"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise WitnessUnreached(str(error) or type(error).__name__) from None
