"""
What the table of commands is made of: phases, rows, small parsers, and the last words of a session.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from attrs import frozen

from lmrelay.errors import Refused
from lmrelay.inbound.services import Client, Step
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Command, parse_command
from lmrelay.smtp.framing import COMMAND_LIMIT, Flaw, Line
from lmrelay.smtp.reply import Reply, reply

INJECTION = reply(421, "4.7.0", "Nothing may follow STARTTLS before its reply, closing connection")
NOT_HTTP = reply(421, "4.7.0", "This is SMTP, not HTTP; closing connection")
TLS_FIRST = reply(421, "4.7.0", "This port begins in clear: connect without TLS and use STARTTLS")
TOO_EARLY = reply(421, "4.7.0", "Too much sent before authentication, closing connection")
NO_CHUNK = reply(421, "4.7.0", "BDAT with characters that are not valid, closing connection")
NO_TLS = reply(421, "4.7.0", "This port takes no TLS, closing connection")

FLAWS = {
    Flaw.TOO_LONG: replies.COMMAND_TOO_LONG,
    Flaw.BARE_NEWLINE: replies.BARE_NEWLINE_IN_COMMAND,
    Flaw.NUL: replies.BAD_COMMAND,
}

# A web page can make a browser post commands here: the first line of its request ends the session.
HTTP_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"})


class Phase(enum.Enum):
    """
    What must have happened before a command.
    """

    ANY = "any"
    SECURE = "a token may be said, and the client has a name"
    LOGGED_IN = "logged in, or bringing back mail"
    MESSAGE = "message"


def check_phase(phase: Phase, client: Client, *, may_send: bool, in_message: bool) -> None:
    """
    Is a command of that phase allowed now? C{may_send}: the client logged in, or may send without.

    @raise Refused: no; the reply says what comes first
    """
    if phase is Phase.ANY:
        return
    if phase is Phase.MESSAGE:
        if not in_message:
            raise Refused(replies.MAIL_FIRST)
    elif phase is Phase.SECURE and not client.is_secure:
        raise Refused(replies.STARTTLS_FIRST)
    elif not client.helo:
        raise Refused(replies.HELO_FIRST)
    elif phase is Phase.LOGGED_IN and not may_send:
        raise Refused(replies.AUTH_REQUIRED)


def read_command(line: Line, client: Client) -> Command:
    """
    The command in a line.

    @raise Refused: there is none that could be carried out (500, 501); 421 if it should have been BDAT: how many octets
        follow that are no command is not known then
    """
    flaw = _find_flaw(line, client)
    try:
        if flaw is not None:
            raise Refused(flaw)
        return parse_command(line.octets)
    except Refused as error:
        if line.octets.lstrip(b" ")[:4].upper() == b"BDAT":
            raise Refused(NO_CHUNK) from error
        raise


def _find_flaw(line: Line, client: Client) -> Reply | None:
    """
    What is wrong with a line that is to be a command. Only AUTH may be longer than others.
    """
    if line.flaw is None and len(line.octets) <= COMMAND_LIMIT - 2:
        return None
    is_auth = line.octets[:5].upper() == b"AUTH "
    if line.flaw is Flaw.TOO_LONG and is_auth:
        return replies.AUTH_LINE_TOO_LONG if client.is_secure else replies.STARTTLS_FIRST
    if line.flaw is not None:
        return FLAWS[line.flaw]
    return None if is_auth else replies.COMMAND_TOO_LONG


@frozen
class Row:
    """
    A command: when it is allowed, how its argument is read, what it does with the session.
    """

    phase: Phase
    parse: Callable[[str], Any]
    carry_out: Callable[[Any, Any], Step]


def no_argument(argument: str) -> None:
    """
    @raise Refused: there is one (501)
    """
    if argument:
        raise Refused(replies.BAD_ARGUMENT)


def anything(argument: str) -> str:
    """
    The argument as it is.
    """
    return argument


def say(answer: Reply) -> Callable[[Any, Any], Step]:
    """
    A command that only has an answer.
    """
    return lambda session, argument: answer
