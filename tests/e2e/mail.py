"""
Messages that the live tests send, and the ways to send them.
"""

from __future__ import annotations

import itertools
import smtplib
import ssl
from collections.abc import Sequence

from tests.e2e.daemon import DOMAIN, Relay

SENDER = f"app@{DOMAIN}"

_numbers = itertools.count(1)


def unverified() -> ssl.SSLContext:
    """
    TLS without a check of the self-signed certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def message(to: str, text: str = "Hello.\r\n", *fields: str, subject: str = "") -> bytes:
    """
    A message that needs nothing added but what the relay always adds.
    """
    number = next(_numbers)
    lines = [
        f"From: App <{SENDER}>",
        f"To: {to}",
        f"Subject: {subject or f'live test {number}'}",
        "Date: Fri, 20 Nov 2026 20:00:00 +0000",
        f"Message-ID: <{number}.live@{DOMAIN}>",
        *fields,
        "",
        text,
    ]
    return "\r\n".join(lines).encode()


def connect(relay: Relay, security: str = "plain", interface: str = "127.0.0.1") -> smtplib.SMTP:
    """
    A session, under TLS unless the listener is plain; not logged in.
    """
    port = relay.port(security, interface)
    if security == "implicit":
        return smtplib.SMTP_SSL(interface, port, timeout=30, context=unverified())
    client = smtplib.SMTP(interface, port, timeout=30)
    if security != "plain":
        client.starttls(context=unverified())
    return client


def login(relay: Relay, security: str = "plain", token: str = "", user: str = "lettermint") -> smtplib.SMTP:
    """
    A session of the project, or of the one that C{token} is of.
    """
    client = connect(relay, security)
    try:
        authenticate(client, "PLAIN", user, token or relay.token)
    except BaseException:
        client.close()
        raise
    return client


def authenticate(client: smtplib.SMTP, mechanism: str, user: str, password: str) -> tuple[int, bytes]:
    """
    AUTH by that mechanism.
    """
    client.ehlo_or_helo_if_needed()
    client.user, client.password = user, password
    method = getattr(client, "auth_" + mechanism.lower().replace("-", "_"))
    return client.auth(mechanism, method)


def send(
    relay: Relay,
    to: str | Sequence[str],
    content: bytes | None = None,
    sender: str = SENDER,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> str:
    """
    Send one message over the plain listener; the answer is its id.
    """
    recipients = [to] if isinstance(to, str) else list(to)
    with login(relay) as client:
        return submit(client, recipients, content, sender, mail_options, rcpt_options)


def submit(
    client: smtplib.SMTP,
    recipients: Sequence[str],
    content: bytes | None = None,
    sender: str = SENDER,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> str:
    """
    One message over a session that is logged in; the answer is its id.
    """
    content = content if content is not None else message(recipients[0])
    return id_in(hand_over(client, recipients, content, sender, mail_options, rcpt_options))


def hand_over(
    client: smtplib.SMTP,
    recipients: Sequence[str],
    content: bytes,
    sender: str = SENDER,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> bytes:
    """
    The same, with what the relay said of it.
    """
    code, text = client.mail(sender, mail_options)
    for recipient in recipients:
        if code == 250:
            code, text = client.rcpt(recipient, rcpt_options)
    if code == 250:
        code, text = client.data(content)
    if code != 250:
        raise smtplib.SMTPResponseException(code, text)
    return text


def id_in(reply: bytes) -> str:
    """
    The message's id in C{250 2.0.0 OK id=ID}.
    """
    return reply.decode("ascii").rpartition("id=")[2].split()[0]
