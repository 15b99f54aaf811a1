"""Calls as a careful client makes them: streamed, an error event is an error, the end is awaited with a limit."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from bench.faults.judge import Outcome

PROMPT = "Say in exactly sixty words when a gateway earns trust."


class Client:
    """One gateway's chat endpoint."""

    def __init__(self, session: aiohttp.ClientSession, port: int, headers: dict[str, str]) -> None:
        self._session, self._origin, self._headers = session, f"http://127.0.0.1:{port}", headers

    async def ask(self, model: str, max_s: float, *, stream: bool = True) -> Outcome:
        """One question; a hang is an outcome, too."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(max_s):
                outcome = await self._ask(model, stream)
        except TimeoutError:
            outcome = {"kind": "hang", "error": f"no end within {max_s:g} s"}
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: an event that is no JSON. The official clients end with it, too.
            outcome = {"kind": "broken", "error": f"{type(error).__name__}: {error}"}
        return Outcome(**outcome, took_s=time.monotonic() - began)

    async def _ask(self, model: str, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        url = f"{self._origin}/v1/chat/completions"
        # The limits are this bench's own: aiohttp's would look like a gateway's.
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.post(url, json=body, headers=self._headers, timeout=timeout) as answer:
            about = {"status": answer.status, "request_id": answer.headers.get("x-dac-request-id", "")}
            if answer.status != 200:
                return about | {"kind": "error", "error": f"{answer.status}: {await answer.text()}"}
            if not stream:
                whole = await answer.json()
                text = whole["choices"][0]["message"]["content"]
                return about | {"kind": "success", "text": text, "model": whole["model"], "usage": whole.get("usage")}
            return about | await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> dict[str, Any]:
        """A stream to its end, or to its error event."""
        said: list[str] = []
        found: dict[str, Any] = {"kind": "success"}
        async for line in answer.content:
            data = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or not data:
                continue
            if data == b"[DONE]":
                break
            event = json.loads(data)
            if event.get("error"):
                found |= {"kind": "error", "error": f"error event: {json.dumps(event['error'])}"}
                break
            found["model"] = event.get("model") or found.get("model", "")
            found["usage"] = event.get("usage") or found.get("usage")
            said += [(choice.get("delta") or {}).get("content") or "" for choice in event.get("choices") or []]
        return found | {"text": "".join(said)}

    async def record(self, request_id: str, max_s: float = 5.0) -> dict[str, Any] | None:
        """What DAC stored about a request, when it has arrived."""
        until = time.monotonic() + max_s
        while request_id and time.monotonic() < until:
            async with self._session.get(f"{self._origin}/v1/requests/{request_id}", headers=self._headers) as answer:
                if answer.status == 200:
                    stored: dict[str, Any] = (await answer.json())["request"]
                    return stored
            await asyncio.sleep(0.05)
        return None
