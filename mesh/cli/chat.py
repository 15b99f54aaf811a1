"""`dac chat`: one question, a pipe, or a conversation in the terminal."""

import sys
import time
from typing import Annotated, Any

import typer

from mesh.cli.client import INTERRUPTED, USAGE, Client, Failure
from mesh.cli.output import AsJson, Url, clean, command, dim, dollars, milliseconds, note, print_json


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "chat")(chat)


def body_of(messages: list[dict[str, str]], model: str, profile: str, thread: str) -> dict[str, Any]:
    """The request of one turn."""
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True, "include_dac": True},
    }
    if profile:
        body["routing_profile"] = profile
    if thread:
        body["thread_id"] = thread
    return body


class Turn:
    """What one answer was: gathered from its events as they come."""

    def __init__(self) -> None:
        self.text, self.finish_reason, self.interrupted = "", "", False
        self.dac: dict[str, Any] = {}
        self.usage: dict[str, Any] | None = None
        self.model = self.route = self.request_id = ""
        self.first_token_ms = self.total_ms = 0.0

    def add(self, event: dict[str, Any]) -> str:
        """Takes an event in; returns the text it brought."""
        self.model = self.model or str(event.get("model") or "")
        self.dac = event.get("dac") or self.dac
        self.usage = event.get("usage") or self.usage
        piece = ""
        for choice in event.get("choices") or []:
            if choice.get("index", 0) == 0:
                piece += (choice.get("delta") or {}).get("content") or ""
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.text += piece
        return piece

    def as_json(self) -> dict[str, Any]:
        """The answer as one value."""
        return {
            "text": self.text,
            "model": self.dac.get("model") or self.model,
            "request_id": self.dac.get("request_id") or self.request_id,
            "cost_usd": self.dac.get("cost_usd"),
            "route": self.route,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "first_token_ms": round(self.first_token_ms, 1),
            "total_ms": round(self.total_ms, 1),
            "interrupted": self.interrupted,
        }

    def summary(self) -> str:
        """The line under the answer."""
        own = self.as_json()
        cost = dollars(own["cost_usd"]) if own["cost_usd"] is not None else "cost unknown"
        parts = [own["model"], cost, f"{milliseconds(self.total_ms)} (first token {milliseconds(self.first_token_ms)})"]
        parts += [own["request_id"]] if own["request_id"] else []
        return clean(" · ".join(["stopped", *parts] if self.interrupted else parts))


def ask(client: Client, body: dict[str, Any], *, quiet: bool) -> Turn:
    """One answer, shown while it comes. Ctrl-C closes the connection, which stops it. Raises Failure."""
    turn, started = Turn(), time.monotonic()
    try:
        with client.stream("POST", "/v1/chat/completions", body) as answer:
            turn.model = answer.headers.get("x-dac-model", "")
            turn.route = answer.headers.get("x-dac-route", "")
            turn.request_id = answer.headers.get("x-dac-request-id", "")
            for event in answer.events():
                piece = turn.add(event)
                if piece and not turn.first_token_ms:
                    turn.first_token_ms = (time.monotonic() - started) * 1000
                if piece and not quiet:
                    sys.stdout.write(clean(piece))
                    sys.stdout.flush()
    except KeyboardInterrupt:
        turn.interrupted = True
    except Failure:
        if turn.text and not quiet:
            print()
        raise
    turn.total_ms = (time.monotonic() - started) * 1000
    if not quiet and not turn.text.endswith("\n"):
        print()
    return turn


def converse(client: Client, model: str, profile: str, thread: str, *, as_json: bool) -> None:
    """A conversation until Ctrl-D, /exit, or Ctrl-C twice. Without a thread the history stays here."""
    note(dim("Ask away. Ctrl-C stops an answer, Ctrl-C twice or Ctrl-D leaves.", sys.stderr))
    history: list[dict[str, str]] = []
    warned = False
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return
        except KeyboardInterrupt:
            if warned:
                raise
            warned = True
            note("\nCtrl-C again leaves.")
            continue
        if line in ("/exit", "/quit"):
            return
        if not line:
            continue
        question = {"role": "user", "content": line}
        messages = [question] if thread else [*history, question]
        try:
            turn = ask(client, body_of(messages, model, profile, thread), quiet=as_json)
        except Failure as failure:
            note(f"error: {clean(failure.message)}")
            continue
        warned = turn.interrupted
        history = [*messages, {"role": "assistant", "content": turn.text}] if turn.text else history
        if as_json:
            print_json(turn.as_json())
        else:
            note(dim(turn.summary(), sys.stderr))


def chat(
    prompt: Annotated[str | None, typer.Argument(help="The question; without it a pipe is read, or you are asked.")] = (
        None
    ),
    model: Annotated[str, typer.Option("--model", "-m", help='A model id (dac model list), or "auto".')] = "auto",
    profile: Annotated[
        str, typer.Option("--profile", help="With auto: quality, balanced, speed, budget, long_context, …")
    ] = "",
    thread: Annotated[str, typer.Option("--thread", help="Continue this thread.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model and see the answer as it comes.

    Example: dac chat "Why is the sky blue?" --profile quality

    Example: git diff | dac chat "Write a commit message for this"
    """
    client = Client(url)
    if prompt is None and sys.stdin.isatty():
        converse(client, model, profile, thread, as_json=as_json)
        return
    piped = "" if sys.stdin is None or sys.stdin.isatty() or prompt == "" else read_pipe(prompt is None)
    text = "\n\n".join(part for part in (prompt, piped) if part)
    if not text.strip():
        raise Failure('there is nothing to ask: dac chat "Hello", or pipe a text in', USAGE)
    turn = ask(client, body_of([{"role": "user", "content": text}], model, profile, thread), quiet=as_json)
    if as_json:
        print_json(turn.as_json())
    else:
        note(dim(turn.summary(), sys.stderr))
    if turn.interrupted:
        raise typer.Exit(INTERRUPTED)


def read_pipe(needed: bool) -> str:
    """What was piped in. Beside a prompt only a real pipe or file counts: an inherited open stdin would never end."""
    if not needed:
        import os
        import stat

        try:
            mode = os.fstat(sys.stdin.fileno()).st_mode
        except (OSError, ValueError):
            return ""
        if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
            return ""
    return sys.stdin.read().strip()
