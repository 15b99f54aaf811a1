"""Who is told of crossed thresholds, on real sockets: a server of webhooks and one of mail, both able to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any


@dataclass
class Hook:
    """Counts what is POSTed. `plays` says, request by request, what it does; afterwards it answers 204.

    Plays: a status, "cut" (in the middle of the answer), "slow" (answers when `release` is set), "redirect".
    """

    plays: list[int | str] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    elsewhere: str = ""
    """Where a redirect leads."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    async def stop(self) -> None:
        self._server.close()
        self.release.set()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(_header(line) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append((headers, body))
            self.arrived.set()
            play = self.plays.pop(0) if self.plays else 204
            if play == "slow":
                await self.release.wait()
                play = 204
            if play == "cut":
                writer.write(b"HTTP/1.1 20")
            elif play == "redirect":
                writer.write(f"HTTP/1.1 307 Moved\r\nlocation: {self.elsewhere}\r\ncontent-length: 0\r\n\r\n".encode())
            else:
                writer.write(f"HTTP/1.1 {play} X\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


@dataclass
class MailServer:
    """Keeps what is sent. `plays` says, connection by connection, what it does; afterwards it takes everything.

    Plays: "refuse" (at RCPT), "busy" (421), "cut" (behind DATA), "silent" (says nothing until `release` is set).
    """

    tls: ssl.SSLContext | None = None
    """With it STARTTLS is offered, and nothing is taken before it."""
    plays: list[str] = field(default_factory=list)
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    connections: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.release.set()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        play, recipients, is_safe = self.plays.pop(0) if self.plays else "", list[str](), self.tls is None

        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        if play == "silent":
            await self.release.wait()
            return
        await say("421 busy" if play == "busy" else "220 here")
        while line := (await reader.readline()).strip():
            verb = line[:4].upper()
            if verb in (b"EHLO", b"HELO"):
                await say("250-here" + ("" if is_safe else "\r\n250-STARTTLS") + "\r\n250 AUTH PLAIN")
            elif verb == b"STAR":
                await say("220 go")
                await writer.start_tls(self.tls)  # type: ignore[arg-type]
                is_safe = True
            elif not is_safe and verb != b"QUIT":
                await say("530 STARTTLS first")
            elif verb == b"AUTH":
                self.logins.append(line)
                await say("235 welcome")
            elif verb == b"MAIL":
                recipients = []
                await say("250 ok")
            elif verb == b"RCPT":
                recipients.append(line.partition(b":")[2].strip(b" <>").decode())
                await say("550 nobody" if play == "refuse" else "250 ok")
            elif verb == b"DATA":
                await say("354 go on")
                body: list[bytes] = []
                while (part := await reader.readline()) != b".\r\n":
                    body.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                if play == "cut":
                    return
                parsed: Any = email.message_from_bytes(b"".join(body), policy=email.policy.default)
                self.mails.append((recipients, parsed))
                await say("250 taken")
            elif verb == b"QUIT":
                await say("221 bye")
                return
            else:
                await say("250 ok")
