"""A small HTTP client for a running DAC: JSON calls and server-sent events, with the standard library only."""

import contextlib
import dataclasses
import http.client
import ipaddress
import json
import os
import pathlib
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 60.0
STREAM_TIMEOUT_S = 600.0
REFUSED, USAGE, UNREACHABLE, NO_KEY, INTERRUPTED = 1, 2, 3, 4, 130


Query = Mapping[str, object] | Sequence[tuple[str, object]]
"""What a query says; as pairs where a field is said more than once."""


class Failure(Exception):
    """A command failed: a sentence for people, the exit code, and the server's error when there was one."""

    def __init__(self, message: str, exit_code: int = REFUSED, *, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message, self.exit_code, self.error = message, exit_code, dict(error or {})


def one_of(option: str, word: str, known: Collection[str]) -> str:
    """A word of those that an option knows. Raises Failure."""
    if word not in known:
        raise Failure(f'{option} "{word}" is none of {", ".join(known)}', USAGE)
    return word


def why_unread(error: OSError | UnicodeError) -> str:
    """Why a file cannot be read as text, in a few words without its name."""
    return getattr(error, "strerror", None) or "it is no text in UTF-8"


def data_dir(env: Mapping[str, str] | None = None) -> pathlib.Path:
    """Where a DAC of this folder keeps its data."""
    return pathlib.Path((os.environ if env is None else env).get("DAC_DATA_DIR") or "data").expanduser()


def base_url(given: str | None, env: Mapping[str, str] | None = None) -> str:
    """The address of DAC without a final slash or /v1. Raises Failure."""
    env = os.environ if env is None else env
    url = given or env.get("DAC_BASE_URL") or f"http://127.0.0.1:{env.get('DAC_HTTP_PORT') or 8000}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failure(f'"{url}" is not an address: write e.g. http://127.0.0.1:8000 (--url, DAC_BASE_URL)', USAGE)
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def find_key(url: str, env: Mapping[str, str] | None = None) -> str:
    """DAC_API_KEY, else the operator's token, which never leaves the machine; else nothing."""
    env = os.environ if env is None else env
    if env.get("DAC_API_KEY"):
        return env["DAC_API_KEY"].strip()
    if is_loopback(url):
        if env.get("DAC_OPERATOR_TOKEN"):
            return env["DAC_OPERATOR_TOKEN"].strip()
        with contextlib.suppress(OSError):
            return (data_dir(env) / "secrets" / "operator.token").read_text().strip()
    return ""


@dataclasses.dataclass
class Answer:
    """A streamed answer: its headers and its events. `close` stops the server's work."""

    headers: Mapping[str, str]
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection

    def events(self) -> Iterator[dict[str, Any]]:
        """The JSON of each event until [DONE] or the end. Raises Failure for an error event."""
        lines: list[str] = []
        for line in self._lines():
            if line.startswith("data:"):
                lines.append(line[5:].removeprefix(" "))
            elif not line and lines:
                data, lines = "\n".join(lines), []
                if data == "[DONE]":
                    return
                event = json.loads(data)
                if isinstance(event.get("error"), dict):
                    raise Failure(str(event["error"].get("message") or event["error"]), error=event["error"])
                yield event

    def _lines(self) -> Iterator[str]:
        try:
            while line := self.response.readline():
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"the answer was cut off: {error or type(error).__name__}", UNREACHABLE) from None

    def close(self) -> None:
        """Ends the connection, which stops the request."""
        with contextlib.suppress(OSError):
            if self.connection.sock is not None:
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.connection.close()


class Client:
    """Calls one DAC."""

    def __init__(self, url: str | None = None, *, env: Mapping[str, str] | None = None) -> None:
        self.url = base_url(url, env)
        self._env = os.environ if env is None else env
        self.key = find_key(self.url, self._env)

    def call(self, method: str, path: str, body: object = None, query: Query | None = None) -> Any:
        """The JSON of an answer. Raises Failure for an error."""
        connection, response = self._send(method, path, body, query, CALL_TIMEOUT_S)
        try:
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"{self.url} broke off its answer ({error})", UNREACHABLE) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise self._refused(response.status, raw)
        try:
            return json.loads(raw) if raw else {}
        except ValueError:
            raise Failure(f"{self.url}{path} did not answer with JSON: is it a DAC? (--url, DAC_BASE_URL)") from None

    def download(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The parts of a file. Raises Failure for an error, also for one that breaks off."""
        connection, response = self._send("GET", path, None, query, STREAM_TIMEOUT_S, accept="*/*")
        try:
            if response.status >= 400:
                raise self._refused(response.status, response.read())
            while part := response.read1(65_536):
                yield part
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"the file was cut off: {error or type(error).__name__}", UNREACHABLE) from None
        finally:
            connection.close()

    @contextlib.contextmanager
    def stream(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Iterator[Answer]:
        """A streamed answer; leaving it closes the connection. Raises Failure for an error."""
        connection, response = self._send(method, path, body, query, STREAM_TIMEOUT_S, accept="text/event-stream")
        if response.status >= 400:
            raw = response.read()
            connection.close()
            raise self._refused(response.status, raw)
        answer = Answer({name.lower(): value for name, value in response.getheaders()}, response, connection)
        try:
            yield answer
        finally:
            answer.close()

    def pages(self, path: str, field: str, query: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """All of a listing, page by page."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            asked = {"page_size": 100, **(query or {}), **({"page_token": token} if token else {})}
            answer = self.call("GET", path, query=asked)
            found += answer.get(field) or []
            token = answer.get("next_page_token") or ""
            if not token:
                return found

    def _send(
        self,
        method: str,
        path: str,
        body: object,
        query: Query | None,
        timeout_s: float,
        accept: str = "application/json",
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        target = parts.path + path + (f"?{urlencode(query)}" if query else "")
        headers = {"accept": accept, "user-agent": "dac-cli"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s)
            connection.request(method, target, data, headers)
            return connection, connection.getresponse()
        except ssl.SSLError as error:
            connection.close()
            raise Failure(f"{self.url}: TLS failed ({error.reason}): check the address", UNREACHABLE) from None
        except (UnicodeError, ValueError):
            connection.close()
            raise Failure("DAC_API_KEY has characters that a key never has: copy it again", NO_KEY) from None
        except TimeoutError as error:
            connected = connection.sock is not None and not str(error).startswith("connect")
            connection.close()
            if connected:
                raise Failure(f"{self.url}{path} took longer than {timeout_s:g} s", UNREACHABLE) from None
            raise self._unreachable() from None
        except (OSError, http.client.HTTPException):
            connection.close()
            raise self._unreachable() from None
        except BaseException:
            connection.close()
            raise

    def _unreachable(self) -> Failure:
        return Failure(
            f"DAC does not answer at {self.url}: start it with `make run` or `dac up`, or set DAC_BASE_URL",
            UNREACHABLE,
        )

    def _hides_operator(self) -> bool:
        """Whether this machine has an operator's token, and DAC_API_KEY stands before it."""
        token = find_key(self.url, {**self._env, "DAC_API_KEY": ""})
        return bool(token) and token != self.key

    def _refused(self, status: int, raw: bytes) -> Failure:
        error: dict[str, Any] = {}
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(raw).get("error")
            error = found if isinstance(found, dict) else {"message": str(found)} if found else {}
        message = str(error.get("message") or f"{self.url} answered with status {status} and no explanation")
        if error.get("code") == "permission_denied" and '"operator"' in message and self._hides_operator():
            message += " DAC_API_KEY hides this machine's operator: begin the command with `env -u DAC_API_KEY`."
        if status != 401:
            return Failure(message, error=error)
        if not self.key:
            where = data_dir() / "secrets" / "operator.token"
            token = f"and there is no {where}" if is_loopback(self.url) else f"and {where} is only for this machine"
            return Failure(f"there is no key: DAC_API_KEY is not set {token}. Set DAC_API_KEY.", NO_KEY, error=error)
        return Failure(message, NO_KEY, error=error)


def segment(text: str) -> str:
    """A value as one part of a path."""
    return quote(text, safe="")


def segments(text: str) -> str:
    """A value as the parts of a path that its slashes make, e.g. a model's id."""
    return quote(text, safe="/")
