"""
Bounces in words alone, as mail servers write them that know no RFC 3464, or did not when they were set up.

In go the parts of a message and its readable text, out comes what it says, or None: it is of no known form.
"""

from __future__ import annotations

import re

from attrs import frozen

from lmrelay.mail.classify import Reason, classify
from lmrelay.mail.mime import Part

TEXT_LIMIT = 16 * 1024
"""
Octets of readable text that are looked at.
"""

_PARAGRAPHS = 100
_SIGN_LIMIT = 2000


@frozen
class Form:
    """
    C{signs}: words of which one stands near its beginning; C{delays}: words that make it a notice of delay. C{name} is
    empty where many programs write it.
    """

    name: str
    signs: tuple[str, ...]
    delays: tuple[str, ...] = ()


# By the sources of the programs, and of what the others are seen to send. In lower case, blanks and line ends alike.
FORMS = (
    # "Hi. This is the ..." is QSBMF, by which a program can know it: https://cr.yp.to/proto/qsbmf.txt
    Form("qmail", ("hi. this is the ",)),
    Form(
        "Exim",
        (
            "this message was created automatically by mail delivery software",
            "a message that you sent could not be delivered to one or more of its recipients",
            "a message that you have sent could not be delivered to one or more recipients",
            "a message that you sent contained one or more recipient addresses that were incorrectly constructed",
        ),
        ("has not yet been delivered", "no action is required on your part"),
    ),
    Form(
        "Postfix",
        (
            "this is the postfix program at host",
            "this is the mail system at host",
            "this is the sendmail/postfix program at host",
        ),
        ("this is a warning only", "you do not need to resend your message"),
    ),
    Form(
        "Sendmail",
        (
            "----- the following addresses had permanent fatal errors -----",
            "----- the following addresses had transient non-fatal errors -----",
            "----- the following addresses had delivery problems -----",
            "----- the following addresses had permanent delivery errors -----",
            "----- transcript of session follows -----",
            "----- session transcript follows -----",
        ),
        ("this is a warning message only", "had transient non-fatal errors"),
    ),
    Form(
        "Exchange",
        (
            "your message did not reach some or all of the intended recipients",
            "delivery has failed to these recipients or",
            "the following recipient(s) could not be reached",
            "the following recipient(s) cannot be reached",
            "delivery is delayed to these recipients or groups",
            "this message hasn't been delivered yet",
            "couldn't be delivered to the following recipient",
            "your message wasn't delivered",
            "your message couldn't be delivered",
        ),
        ("delivery is delayed to these recipients", "this message hasn't been delivered yet"),
    ),
    Form(
        "Gmail",
        (
            "delivery to the following recipient failed permanently",
            "delivery to the following recipient has been delayed",
            "delivery to the following recipients failed",
            "** address not found **",
            "** message not delivered **",
            "** message blocked **",
            "** delivery incomplete **",
        ),
        ("has been delayed", "gmail will retry", "** delivery incomplete **"),
    ),
    Form("Domino", ("was not delivered to:", "could not be delivered because: user ")),
    Form(
        "",
        (
            "this is an automatically generated delivery status notification",
            "this is the dragonfly mail agent",
            "there was an error delivering your mail",
            "we had trouble delivering your message",
            "did not reach the following recipient",
            "an error occurred while trying to deliver the mail to the following recip",
            "to the following address(es) could not be delivered",
            "unable to deliver message to <",
            "your mail could not be delivered",
            "your email could not be delivered",
            "your message could not be delivered",
            "could not be delivered to the following",
            "unable to deliver your message to the following",
            "unable to deliver message to the following",
            "undeliverable message returned to sender",
            "message could not be delivered to",
            "the following message could not be delivered",
            "i was unable to deliver your message",
            "i'm sorry to have to inform you that",
            "recipient's mailbox is full",
            "the user's mailbox is full",
            "diese nachricht wurde automatisch von einer mail-software erzeugt",
            "ihre nachricht konnte nicht zugestellt werden",
            "ihre e-mail konnte nicht zugestellt werden",
        ),
        ("this is a warning", "has been delayed", "will be retried", "will keep trying", "will continue to try"),
    ),
)

# Behind these the returned message begins, whose words are the sender's own.
_COPY = re.compile(
    r"^[ \t>]*(?:--- ?below this line|-+ ?this is a copy of|-+ ?original message|-+ ?the header of the original|"
    r"-+ ?returned message|-+ ?the body of the message|-+ ?message header|-+ ?unsent message below|"
    r"original message headers?:|original message follows|message headers follow|"
    r"-+ ?undelivered message|reporting-mta:|received: (?:from|by) )",
    re.IGNORECASE | re.MULTILINE,
)
ENHANCED = re.compile(r"(?<![0-9.])([45]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])")
"""
An enhanced status code within words, and no address or version.
"""

_REPLY = re.compile(r"(?:^|[\s:;<(\[#\"'])([45][0-5][0-9])(?=[- ]#?[A-Za-z45(<]|[- ]?$)", re.MULTILINE)
_ADDRESS_LINE = re.compile(r"^[ \t]*<?[^\s<>@]+@[^\s<>@]+>?:", re.MULTILINE)

_AUTO_SUBJECT = re.compile(
    r"^(?:out of (?:the )?office|automatic reply|autoreply|auto-reply|auto reply|auto:|automatische antwort|"
    r"abwesenheit|abwesend|réponse automatique|respuesta automática|risposta automatica|absence|vacation|"
    r"i am (?:currently )?(?:out|away)|away from)",
    re.IGNORECASE,
)
_UNSEEN = re.compile(r"<(style|script)\b", re.IGNORECASE)
_SEEN = re.compile(r"</(style|script)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h[1-6]|/li)\b[^<>]*>", re.IGNORECASE)
_ENTITIES = (("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&"))


@frozen
class Read:
    """
    What a bounce in words says: C{status} is empty where it has no code, C{form} where it is of none.
    """

    is_delay: bool
    status: str
    text: str
    form: str = ""


def cut_copy(text: str) -> str:
    """
    The text without a message that is returned below it.
    """
    copy = _COPY.search(text)
    return text[: copy.start()] if copy else text


def plain_text(message: Part) -> str:
    """
    The text that people would read first.
    """
    # A multipart whose parts cannot be told apart is read as it stands.
    broken = message if message.type.startswith("multipart/") and not message.parts else None
    part = message.find("text/plain") or message.find("text/html") or broken
    if part is None:
        return ""
    text = part.text(TEXT_LIMIT).replace("\r\n", "\n").replace("\u2019", "'")
    if part.type == "text/html":
        text = _TAG.sub(" ", _BREAK.sub("\n\n", _drop_unseen(text)))
        for entity, meant in _ENTITIES:
            text = text.replace(entity, meant)
    return text


def _drop_unseen(text: str) -> str:
    """
    HTML without its style sheets and scripts. Step by step, for a pattern over both ends would begin anew at each.
    """
    kept, at = [], 0
    while begin := _UNSEEN.search(text, at):
        kept.append(text[at : begin.start()])
        end = _SEEN.search(text, begin.end())
        if end is None:
            return "".join(kept)
        at = end.start()
    return "".join((*kept, text[at:]))


def read_form(message: Part, words: str) -> Read | None:
    """
    What a message in one of the known forms says.
    """
    beginning = " ".join(words[:_SIGN_LIMIT].lower().split()) + " "
    form = next((form for form in FORMS if any(sign in beginning for sign in form.signs)), None)
    if form is None:
        # Exim names the recipients in a field, however its text was translated.
        return _read(words, form="Exim") if message.value("X-Failed-Recipients") else None
    return _read(words, form=form.name, is_delay=any(one in beginning for one in form.delays))


def read_loosely(words: str) -> Read | None:
    """
    What a text says that is of no known form, if it has a code or words that are known of replies.
    """
    found = _read(words)
    return found if found.status or classify("", found.text) is not Reason.UNKNOWN else None


def is_auto_reply(message: Part, subject: str) -> bool:
    """
    Is it what a program answers in the recipient's stead (RFC 3834, and what was there before it)?
    """
    if is_submitted_by_program(message) or _AUTO_SUBJECT.match(subject.strip()):
        return True
    if any(message.value(name) for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Response")):
        return True
    return message.value("Precedence").strip().lower() in ("auto_reply", "auto-reply")


def is_submitted_by_program(message: Part) -> bool:
    """
    Does it say that no person sent it (RFC 3834 §5)?
    """
    return message.value("Auto-Submitted").partition(";")[0].strip().lower() not in ("", "no")


def _read(words: str, *, form: str = "", is_delay: bool = False) -> Read:
    paragraphs = [" ".join(one.split()) for one in re.split(r"\n[ \t]*\n", words, maxsplit=_PARAGRAPHS)]
    telling = _choose([one for one in paragraphs if one])
    enhanced, code = ENHANCED.search(telling), _REPLY.search(telling)
    status = enhanced[1] if enhanced else f"{code[1][0]}.0.0" if code else ""
    return Read(is_delay, status, telling, form)


def _choose(paragraphs: list[str]) -> str:
    """
    The paragraph that says why: with a code, or with words known of replies, or of an address, or the second.
    """
    for tells in (ENHANCED.search, _REPLY.search):
        if found := next((one for one in paragraphs if tells(one)), ""):
            return found
    known = (one for one in paragraphs if classify("", one) is not Reason.UNKNOWN)
    named = (one for one in paragraphs if _ADDRESS_LINE.match(one))
    return next(known, "") or next(named, "") or next(iter(paragraphs[1:2] or paragraphs), "")
