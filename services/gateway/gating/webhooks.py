"""Webhooks that the operator configured: each is told an answer and says what it thinks of it.

Policies name them; where they lead stands in the configuration alone, by the rules of every signed webhook.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from mesh.config import Secret
from mesh.ids import uuid7
from mesh.signed_webhooks import Undelivered
from services.gateway.gating.verdict import Opinion
from services.gateway.validation.subject import (
    ERROR,
    FAILED,
    FLAGGED,
    INFO,
    NOT_CHECKED,
    PASSED,
    WARN,
    Finding,
    Subject,
)

if TYPE_CHECKING:
    from mesh.signed_poster import SignedPoster

WEBHOOK = "webhook"
"""The check's name."""
ANSWER_BYTES = 64 * 1024
"""What is read of its answer."""
MOST_FINDINGS = 20
MOST_MESSAGE_CHARS = 300
_SEVERITIES = {PASSED: INFO, FLAGGED: WARN, FAILED: ERROR}


class _Said(msgspec.Struct):
    status: str
    quality: float | None = None
    messages: list[str] = []


class Webhooks:
    """Asks them."""

    def __init__(
        self, urls: Mapping[str, str], secret: Secret | None, *, allow_private: bool, timeout_s: float
    ) -> None:
        self._urls = urls
        self._poster: SignedPoster | None = None
        if urls and secret is not None:
            # Only who has a webhook imports what calls it.
            from mesh.signed_poster import SignedPoster

            self._poster = SignedPoster(secret, allow_private=allow_private, timeout_s=timeout_s, now=time.time)

    async def ask(self, name: str, subject: Subject, org_id: str) -> Opinion:
        """What it says; not_checked when it is not configured, not reached in time, or not understood."""
        url = self._urls.get(name)
        if url is None or self._poster is None:
            return _unasked(f"no webhook {name!r} is configured")
        event_id = uuid7()
        body = msgspec.json.encode(
            {
                "event": "answer.validation",
                "id": event_id,
                "org_id": org_id,
                "text": subject.text,
                "question": subject.question,
                "context": subject.context,
                "task_type": subject.task_type,
                "finish_reason": subject.finish_reason,
            }
        )
        try:
            said = msgspec.json.decode(
                await self._poster.post(url, event_id, body, answer_bytes=ANSWER_BYTES), type=_Said
            )
        except Undelivered as error:
            return _unasked(str(error))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _unasked("the webhook's answer is not what docs/validation.md says")
        if said.status not in _SEVERITIES or (said.quality is not None and not 0 <= said.quality <= 1):
            return _unasked("the webhook's answer is not what docs/validation.md says")
        severity = _SEVERITIES[said.status]
        findings = (Finding(WEBHOOK, severity, one[:MOST_MESSAGE_CHARS], 0, 0) for one in said.messages[:MOST_FINDINGS])
        return Opinion(WEBHOOK, said.status, said.quality, tuple(findings))

    async def close(self) -> None:
        """Ends its connections."""
        if self._poster is not None:
            await self._poster.close()


def _unasked(why: str) -> Opinion:
    return Opinion(WEBHOOK, NOT_CHECKED, note=why)


def read_urls(entries: Iterable[str]) -> dict[str, str]:
    """Entries such as "moderation=https://checks.example.com/dac". Raises ValueError."""
    urls: dict[str, str] = {}
    for entry in entries:
        name, _, url = entry.partition("=")
        if not name or not url or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(f'"{entry[:80]}" is no webhook: write name=https://host/path')
        if name in urls:
            raise ValueError(f'the webhook "{name}" is there twice')
        urls[name] = url
    return urls
