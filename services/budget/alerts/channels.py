"""The ways to tell of an alert: a signed webhook and mail. Where they lead the operator says, never a request."""

from __future__ import annotations

import asyncio
import email.utils
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

from mesh.config import Secret
from mesh.signed_webhooks import Undelivered
from services.budget.alerts.alerts import Alert, event_of, is_address, subject_of, text_of
from services.budget.config import BudgetConfig

WEBHOOK, MAIL = "webhook", "mail"
WEBHOOK_TIMEOUT_S = 15.0
SMTP_TIMEOUT_S = 15.0
"""Of each step of the conversation with the mail server."""
MAIL_TIMEOUT_S = 60.0


class Untold(Exception):
    """An alert did not arrive; the message says why, and names no secret."""


class Channel(Protocol):
    """One way to tell."""

    @property
    def name(self) -> str:
        """WEBHOOK or MAIL."""

    def takes(self, alert: Alert) -> bool:
        """Whether this alert is told this way."""

    async def tell(self, alert: Alert) -> None:
        """Tells of it. Raises Untold."""

    async def close(self) -> None:
        """Ends what is open."""


class Webhook:
    """POSTs a signed event to the operator's address."""

    name = WEBHOOK

    def __init__(self, url: str, secret: Secret, *, allow_private_address: bool, now: Callable[[], float]) -> None:
        # Only who has a webhook imports what calls it.
        from mesh.signed_poster import SignedPoster

        self._url = url
        self._poster = SignedPoster(secret, allow_private=allow_private_address, timeout_s=WEBHOOK_TIMEOUT_S, now=now)

    def takes(self, alert: Alert) -> bool:
        """Every alert."""
        return True

    async def tell(self, alert: Alert) -> None:
        """Told is what was answered with 2xx."""
        try:
            await self._poster.post(self._url, alert.alert_id, event_of(alert))
        except Undelivered as error:
            raise Untold(str(error)) from error

    async def close(self) -> None:
        """Ends its connections."""
        await self._poster.close()


@dataclass(frozen=True)
class Mail:
    """Writes to a budget's addresses through the operator's mail server."""

    host: str
    port: int
    sender: str
    tls: str
    """"starttls", "implicit" or "none"."""
    username: str = ""
    password: Secret | None = None
    name: str = MAIL

    def takes(self, alert: Alert) -> bool:
        """Alerts of budgets that name somebody."""
        return any(map(is_address, alert.limit.alert_emails))

    async def tell(self, alert: Alert) -> None:
        """Told is what the server took for at least one recipient."""
        try:
            # A thread of its own: a mail server may keep it waiting for a minute.
            await asyncio.wait_for(asyncio.to_thread(self._send, alert), MAIL_TIMEOUT_S)
        except (smtplib.SMTPException, ssl.SSLError, TimeoutError, OSError, ValueError) as error:
            code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
            raise Untold(f"the mail server failed: {type(error).__name__}{code}") from error

    async def close(self) -> None:
        """Nothing is kept open."""

    def message(self, alert: Alert) -> EmailMessage:
        """The mail."""
        message = EmailMessage()
        message["Subject"] = subject_of(alert)
        message["From"] = self.sender
        message["To"] = ", ".join(filter(is_address, alert.limit.alert_emails))
        message["Date"] = email.utils.format_datetime(alert.at)
        # The same at every try: readers' programs show it once.
        message["Message-ID"] = f"<{alert.alert_id}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text_of(alert))
        return message

    def _send(self, alert: Alert) -> None:
        context = ssl.create_default_context()
        if self.tls == "implicit":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SMTP_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SMTP_TIMEOUT_S)
        with server:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.username:
                server.login(self.username, self.password.reveal() if self.password else "")
            server.send_message(self.message(alert))


def channels_of(config: BudgetConfig, now: Callable[[], float]) -> list[Channel]:
    """What the operator has set up."""
    found: list[Channel] = []
    if config.alert_webhook_url and config.alert_webhook_secret is not None:
        allow = config.alert_webhook_allow_private_address
        found.append(
            Webhook(config.alert_webhook_url, config.alert_webhook_secret, allow_private_address=allow, now=now)
        )
    if config.smtp_host:
        found.append(
            Mail(
                config.smtp_host,
                config.smtp_port,
                config.smtp_from,
                config.smtp_tls,
                config.smtp_username,
                config.smtp_password,
            )
        )
    return found
