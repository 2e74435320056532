"""
Everything the server says, in one table, with its enhanced codes (RFC 2034, RFC 3463).

Every reply has an enhanced code but the greeting, the answer to EHLO and those that
ask for more (3xx).
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrelay.smtp.reply import Reply, reply

# --- the session -----------------------------------------------------------------------------

START_TLS = reply(220, "2.0.0", "Ready to start TLS")
BYE = reply(221, "2.0.0", "Bye")
OK = reply(250, "2.0.0", "OK")
CANNOT_VRFY = reply(252, "2.5.0", "Cannot VRFY user, but will accept message and attempt delivery")
HELP = reply(214, "2.0.0", "See RFC 5321")
TIMEOUT = reply(421, "4.4.2", "Timeout, closing connection")
TOO_SLOW = reply(421, "4.4.2", "Content arrives too slowly, closing connection")
SHUTTING_DOWN = reply(421, "4.3.2", "Service shutting down, closing connection")
TOO_MANY_CONNECTIONS = reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors, closing connection")
COMMAND_TOO_LONG = reply(500, "5.5.6", "Line too long")
UNKNOWN_COMMAND = reply(500, "5.5.2", "Command unrecognized")
BARE_NEWLINE_IN_COMMAND = reply(500, "5.5.2", "Lines must end in CRLF; bare CR or LF not accepted")
BAD_COMMAND = reply(501, "5.5.2", "Invalid characters in command")
BAD_ARGUMENT = reply(501, "5.5.4", "Syntax error in parameters")
NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = reply(503, "5.5.1", "Bad sequence of commands")
HELO_FIRST = reply(503, "5.5.1", "Send HELO or EHLO first")
TLS_ACTIVE = reply(503, "5.5.1", "TLS is already active")
TLS_UNAVAILABLE = reply(454, "4.7.0", "TLS not available")


def greeting(hostname: str) -> Reply:
    """
    The banner.
    """
    return reply(220, None, f"{hostname} ESMTP lmrelay")


def helo(hostname: str) -> Reply:
    """
    The answer to HELO.
    """
    return reply(250, None, f"{hostname} nice to meet you")


def ehlo(hostname: str, extensions: Sequence[str]) -> Reply:
    """
    The answer to EHLO; an extension is its keyword and parameters.
    """
    return reply(250, None, f"{hostname} nice to meet you", *extensions)


# --- AUTH ------------------------------------------------------------------------------------

AUTHENTICATED = reply(235, "2.7.0", "Authentication successful")
AUTH_UNAVAILABLE = reply(454, "4.7.0", "Temporary authentication failure")
AUTH_LINE_TOO_LONG = reply(500, "5.5.6", "Authentication exchange line is too long")
AUTH_CANCELLED = reply(501, "5.7.0", "Authentication cancelled")
AUTH_NOT_BASE64 = reply(501, "5.5.2", "Cannot decode response")
AUTH_AGAIN = reply(503, "5.5.1", "Already authenticated")
AUTH_IN_TRANSACTION = reply(503, "5.5.1", "AUTH not permitted during a mail transaction")
AUTH_UNKNOWN_MECHANISM = reply(504, "5.5.4", "Unrecognized authentication type")
STARTTLS_FIRST = reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_REQUIRED = reply(530, "5.7.0", "Authentication required")
AUTH_INVALID = reply(535, "5.7.8", "Authentication credentials invalid")
TOO_MANY_AUTH_FAILURES = reply(421, "4.7.0", "Too many authentication failures, closing connection")


def auth_challenge(challenge: str) -> Reply:
    """
    Ask for the next response; C{challenge} is base64.
    """
    return reply(334, None, challenge)


def smtp_not_enabled(slug: str) -> Reply:
    """
    A right token of a project with SMTP off.
    """
    return reply(535, "5.7.8", f"SMTP is not enabled for project {slug}")


def smtp_disabled(slug: str) -> Reply:
    """
    SMTP was switched off under an open session.
    """
    return reply(421, "4.7.0", f"SMTP was disabled for project {slug}")


def too_many_connections_of(slug: str) -> Reply:
    """
    A project has as many sessions as it may have.
    """
    return reply(421, "4.7.0", f"Too many connections for project {slug}, try again later")


def project_gone(slug: str) -> Reply:
    """
    The project was removed under an open transaction.
    """
    return reply(451, "4.7.0", f"Project {slug} is no longer configured here")


TOKEN_GONE = reply(421, "4.7.0", "The API token was revoked or has expired, closing connection")

# --- MAIL and RCPT ---------------------------------------------------------------------------

SENDER_OK = reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = reply(250, "2.1.5", "Recipient OK")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients")
MAIL_SYNTAX = reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
NESTED_MAIL = reply(503, "5.5.1", "Sender already specified")
MAIL_FIRST = reply(503, "5.5.1", "Send MAIL first")
NO_VALID_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
LITERAL_RECIPIENT = reply(550, "5.1.2", "Address literals are not accepted as recipients")
UNQUALIFIED_RECIPIENT = reply(553, "5.1.3", "Recipient address needs a domain")
NEEDS_SMTPUTF8 = reply(553, "5.6.7", "Non-ASCII address needs SMTPUTF8")


UNKNOWN_RECIPIENT = reply(550, "5.1.1", "Nothing is awaited at this address")
TOO_MUCH_RETURNED = reply(452, "4.7.0", "Too many messages come back, try again later")


def unknown_part(names: Sequence[str]) -> Reply:
    """
    A recipient at the domain of test addresses that is none of these.
    """
    known = f"{', '.join(names[:-1])} and {names[-1]}"
    return reply(550, "5.1.1", f"No such test address: there are {known}, each with +anything")


def bad_sender(reason: str) -> Reply:
    """
    The path of MAIL is no address.
    """
    return reply(553, "5.1.7", f"Bad sender address: {reason}")


def bad_recipient(reason: str) -> Reply:
    """
    The path of RCPT is no address.
    """
    return reply(553, "5.1.3", f"Bad recipient address: {reason}")


def bad_parameter(keyword: str) -> Reply:
    """
    A parameter that is known, with a value that is not valid, or said twice.
    """
    return reply(501, "5.5.4", f"Bad or repeated {keyword} parameter")


def unknown_parameter(keyword: str) -> Reply:
    """
    A parameter of no extension that was offered.
    """
    return reply(555, "5.5.4", f"Unsupported parameter: {keyword}")


def sender_not_allowed(domain: str, slug: str) -> Reply:
    """
    A domain that is not one of the project's.
    """
    return reply(550, "5.7.1", f"Sender domain {domain} is not allowed for project {slug}")


# --- the content -----------------------------------------------------------------------------

GO_AHEAD = reply(354, None, "End data with <CR><LF>.<CR><LF>")
STORE_FAILED = reply(451, "4.3.0", "Requested action aborted: local error in processing")
STORE_FULL = reply(452, "4.3.1", "Insufficient system storage")
TOO_LARGE = reply(552, "5.3.4", "Message size exceeds fixed maximum message size")
HEADER_TOO_LARGE = reply(552, "5.3.4", "Header too large")
TOO_MANY_HEADS = reply(452, "4.3.1", "Too many large headers arrive at once, try again later")
TOO_MANY_FIELDS = reply(552, "5.3.4", "Too many header fields")
NUL_IN_CONTENT = reply(554, "5.6.0", "Message contains NUL characters")
BARE_NEWLINES = reply(554, "5.6.0", "Message contains bare CR or LF")
ROUTING_LOOP = reply(554, "5.4.6", "Routing loop")
NO_FROM = reply(554, "5.6.0", "Message has no From header")
SEVERAL_FROM = reply(554, "5.6.0", "Message has more than one From header")
NO_SENDER = reply(554, "5.6.0", "Message has several From addresses, so it needs a Sender header")
SEVERAL_SENDER = reply(554, "5.6.0", "Message has more than one Sender header")
NO_TO = reply(554, "5.6.0", "Message has no To header")
NO_REPORT = reply(554, "5.6.0", "Only reports of delivery are taken at this address, and nobody reads them")


def too_large_for(slug: str, limit: int) -> Reply:
    """
    The project has a limit of its own, in octets.
    """
    return reply(552, "5.3.4", f"Message size exceeds the maximum of {limit} octets for project {slug}")


def bad_header(name: str, reason: str) -> Reply:
    """
    A header field that cannot be read.
    """
    return reply(554, "5.6.0", f"Bad {name} header: {reason}")


def unknown_route(slug: str, project: str) -> Reply:
    """
    A control header names a route that the project has not.
    """
    return reply(554, "5.6.0", f'Route "{slug}" does not exist in project {project}')


def chunk_taken(size: int) -> Reply:
    """
    A chunk of BDAT that is not the last.
    """
    return reply(250, "2.0.0", f"{size} octets received")


def accepted(message_id: str) -> Reply:
    """
    The message is on disk.
    """
    return reply(250, "2.0.0", f"OK id={message_id}")


def duplicate(first_id: str) -> Reply:
    """
    Its Idempotency-Key was used before for the same message, which is on disk.
    """
    return reply(250, "2.0.0", f"OK id={first_id} (duplicate)")


def key_reused(first_id: str) -> Reply:
    """
    Its Idempotency-Key was used before for another message: that one.
    """
    return reply(554, "5.5.0", f"Idempotency-Key was used before for another message, id={first_id}")


KEY_IN_USE = reply(451, "4.5.0", "A message with this Idempotency-Key is being stored, try again later")


def over_quota(number: int, period: str, whose: str, lifts_at: str) -> Reply:
    """
    C{period} is "hour" or "day", C{whose} such as "project acme", C{lifts_at} a time in ISO 8601.
    """
    return reply(452, "4.7.0", f"Limit of {number} messages per {period} for {whose} is reached until {lifts_at}")
