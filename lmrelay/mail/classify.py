"""
What a reply or a report says went wrong, and whose trouble that is: one table for both.

In come an enhanced status code (RFC 3463) and the remote's words, out comes a L{Reason}. Its class is no matter here:
whether it is for good is for the reply's own code, or the report's action, to say.
"""

from __future__ import annotations

import enum

from attrs import frozen

from lmrelay.mail.outcome import Fault

WORDS_LIMIT = 4096
"""
Characters of the remote's words that are looked at.
"""


class Reason(enum.Enum):
    """
    What went wrong. The value: how it is told, and whose trouble it is.
    """

    UNKNOWN_USER = ("unknown user", Fault.RECIPIENT)
    INACTIVE = ("mailbox disabled", Fault.RECIPIENT)
    MAILBOX_FULL = ("mailbox full", Fault.RECIPIENT)
    BAD_DOMAIN = ("domain takes no mail", Fault.RECIPIENT)
    REPUTATION = ("sender's reputation", Fault.POLICY)
    AUTHENTICATION = ("SPF, DKIM or DMARC", Fault.POLICY)
    CONTENT = ("content refused", Fault.POLICY)
    RATE = ("too much mail", Fault.POLICY)
    GREYLISTED = ("greylisted", Fault.POLICY)
    TLS = ("TLS required", Fault.POLICY)
    POLICY = ("policy", Fault.POLICY)
    TOO_LARGE = ("message too large", Fault.RECEIVER)
    LOOP = ("routing loop", Fault.RECEIVER)
    EXPIRED = ("not taken in time", Fault.RECEIVER)
    RECEIVER = ("receiver in trouble", Fault.RECEIVER)
    SENDER = ("bad sender address", Fault.OURS)
    PROTOCOL = ("protocol error", Fault.OURS)
    UNKNOWN = ("unknown", Fault.RECEIVER)

    @property
    def fault(self) -> Fault:
        """
        Whose trouble it is, as far as the words alone can say.
        """
        return self.value[1]

    def __str__(self) -> str:
        return self.value[0]


@frozen
class Rule:
    """
    Codes, less their class (C{1.1} for 5.1.1 and 4.1.1), and words in lower case, each of which says C{reason}.

    C{vague} codes say it only where no words say more.
    """

    reason: Reason
    codes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    vague: tuple[str, ...] = ()


def _split(words: str) -> tuple[str, ...]:
    return tuple(" ".join(words.split()).split(" | "))


# Sources. Codes: RFC 3463 §3.2 to §3.8 and the registry of RFC 5248 ("SMTP Enhanced Status Codes", with those of
# RFC 7372, authentication, RFC 7505, null MX, RFC 7293, and RFC 8689, REQUIRETLS). Words, and what codes are used for
# in practice: the postmasters' public pages of Gmail ("SMTP errors and codes"), Outlook.com and Exchange Online ("NDR
# error codes"), Yahoo ("SMTP error codes": [TSS04], 554.30), iCloud, GMX and WEB.DE, T-Online, Comcast; and the replies
# that Postfix, Exim, qmail, Sendmail, Cyrus and Dovecot give unless they are told otherwise. The order is that of
# precedence between words: what is said of the sender goes before what is said of the recipient, for "unknown user" is
# often a blocklist's politeness, and never the reverse. Words that say least come last.
TABLE = (
    Rule(Reason.GREYLISTED, words=("greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list")),
    Rule(
        Reason.TLS,
        # 7.4: security features not supported; 7.10: encryption needed; 7.30: REQUIRETLS support required.
        ("7.4", "7.10", "7.11", "7.30"),
        ("must issue a starttls", "starttls is required", "starttls required", "tls is required", "tls required"),
    ),
    Rule(
        Reason.AUTHENTICATION,
        # 7.20 to 7.22 DKIM, 7.23 and 7.24 SPF, 7.25 reverse DNS, 7.26 several of them; 7.515: Outlook.com's.
        ("7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.29", "7.515"),
        _split(
            """
            dmarc | spf check | spf fail | spf record | spf validation | fails spf | dkim | unauthenticated email |
            unauthenticated mail | unauthenticated sender | sender policy framework | reverse dns | reverse hostname |
            ptr record | does not have a ptr | fcrdns
            """
        ),
    ),
    Rule(
        Reason.REPUTATION,
        # 7.508: Outlook.com's limit by address; 7.511 and 7.606 to 7.650: its banned addresses.
        ("7.508", "7.511", *(f"7.{number}" for number in range(606, 651)), "7.708", "7.750"),
        _split(
            """
            spamhaus | spamcop | barracudacentral | sorbs | senderscore | blacklist | black list | black-list |
            blocklist | block list | block-list | denylist | dnsbl | in rbl | by rbl | blocked using | has been blocked
            | blocked ip | blocked for spam | ip is blocked | is listed | banned send | reputation | user complaints |
            [tss0
            """
        ),
    ),
    Rule(
        Reason.CONTENT,
        # 6.x speaks of the message: media, conversion. 7.7: message integrity.
        ("6.1", "6.2", "7.7"),
        _split(
            """
            spam content | as spam | looks like spam | spam message | spam detected | spam score | identified as spam |
            likely unsolicited | unsolicited mail | unsolicited email | unsolicited bulk | message content |
            content rejected | contains a virus | virus found | virus detected | malware | infected | phish | suspicious
            | message blocked | blocked for security reasons | prohibited attachment
            """
        ),
    ),
    Rule(
        Reason.RATE,
        # 7.28: mail flood detected.
        ("7.28",),
        _split(
            """
            rate limit | rate-limit | ratelimit | throttl | too many messages | too many connections |
            too many concurrent | too much mail | sending quota exceeded | sending limit | unusual rate |
            unexpected volume | receiving mail at a rate | too quickly | too fast | frequency limited
            """
        ),
    ),
    Rule(
        Reason.SENDER,
        # 1.7 and 1.8: the sender's address has bad syntax, or its domain cannot be found.
        ("1.7", "1.8"),
        ("sender address rejected", "sender domain", "invalid sender", "sender verify failed"),
    ),
    Rule(
        Reason.MAILBOX_FULL,
        # 2.2: mailbox full.
        ("2.2",),
        _split(
            """
            mailbox full | folder is full | mailbox exceeds | mailbox is full | mailbox has exceeded | mailbox exceeded
            | inbox is full | over quota | overquota | over-quota | out of storage space | quota exceed | exceeded quota
            | exceeds quota | exceeded storage | exceeded his quota | exceeded their quota | exceeded the quota |
            over the maximum allowed mailbox | insufficient mailbox | not enough storage space in mailbox |
            storage quota | disk quota | postfach voll | postfach ist voll | boîte pleine | buzón lleno
            """
        ),
    ),
    Rule(
        Reason.INACTIVE,
        # 1.6: it has moved, and left no address.
        ("1.6",),
        _split(
            """
            account disabled | account is disabled | account has been disabled |
            account that you tried to reach is disabled | account is inactive | account inactive | inactive user |
            user is inactive | mailbox is inactive | mailbox is disabled | mailbox disabled | mailbox has been disabled
            | account suspended | account is suspended | account has been suspended | account closed |
            account has been closed | account expired | account is locked | mailbox is frozen | no longer in use |
            no longer works here | not accepting mail | not accepting messages | mailbox not accepting
            """
        ),
        # 2.1: mailbox disabled, not accepting messages; but Gmail has it for one that gets too much at a time.
        vague=("2.1",),
    ),
    Rule(
        Reason.UNKNOWN_USER,
        # 1.1: no such mailbox; 1.3: its syntax is bad; 1.4: it is ambiguous.
        ("1.1", "1.3", "1.4"),
        _split(
            """
            user unknown | unknown user | unknown recipient | recipient unknown | unknown address | address unknown |
            unknown mailbox | mailbox unknown | no such user | no such recipient | no such mailbox | no such address |
            no such person | no such account | no such local user | no mailbox here by that name |
            no mailbox by that name | no mailbox found | no account by that name | user not found | recipient not found
            | mailbox not found | address not found | account not found | wasn't found at | couldn't be found |
            could not be found | recipnotfound | recipientnotfound |
            user doesn't exist | user does not exist | user not exist |
            group you tried to contact | account does not exist | address does not exist | mailbox does not exist |
            recipient does not exist | this user doesn't have a | tried to reach does not exist | is not a valid mailbox
            | is not a valid user | not a valid recipient | not a known user | not listed in | not a registered |
            not our customer | invalid recipient | invalid mailbox | invalid address | invalid user |
            bad destination mailbox | bad address | mailbox unavailable | unrouteable address | unroutable address |
            unrouteable mail | recipient rejected | recipient address rejected: access denied |
            recipient address rejected: undeliverable | undeliverable address | addressee unknown | unbekannter empf |
            empfänger unbekannt | destinataire inconnu | usuario desconocido | utente sconosciuto
            """
        ),
        vague=("1.0", "2.0"),
    ),
    Rule(
        Reason.BAD_DOMAIN,
        # 1.2: bad destination system; 4.4: unable to route.
        ("1.2", "4.4"),
        _split(
            """
            domain not found | dns lookup failure | domain does not exist | no such domain | dns type 'mx' lookup |
            host not found | host unknown | unknown host | nxdomain | couldn't find any host named | no mx record |
            does not accept mail | relay access denied | relaying denied | relay not permitted | unable to relay |
            relay is prohibited
            """
        ),
        # 1.10: null MX (RFC 7505); but Exchange Online has it for whom the directory lacks.
        vague=("1.10",),
    ),
    Rule(
        Reason.TOO_LARGE,
        # 2.3: longer than the mailbox takes; 3.4: than the system takes.
        ("2.3", "3.4"),
        ("message too large", "message too big", "message size exceeds", "message is too large", "exceeds size limit"),
    ),
    Rule(
        Reason.LOOP,
        # 4.6: routing loop; 4.14: Exchange Online's hop count.
        ("4.6", "4.14"),
        ("routing loop", "mail loop", "too many hops", "hop count exceeded", "loops back to myself"),
    ),
    Rule(
        Reason.EXPIRED,
        # 4.7: delivery time expired.
        ("4.7",),
        _split(
            """
            retry timeout exceeded | retry time not reached for any host after a long failure |
            could not be delivered for | has been in the queue too long | message expired | multiple retries, giving up
            | envelope expired | delivery time expired |
            i'm not going to try again; this message has been in the queue too long
            """
        ),
    ),
    Rule(
        Reason.RECEIVER,
        # 2.4: mailing list expansion; 3.x: the system; 4.x: the network and routing.
        ("2.4", "3.1", "3.2", "3.3", "3.5", "4.2", "4.3", "4.5", "5.3"),
        _split(
            """
            connection refused | connection timed out | connection reset | connection dropped | timed out |
            no route to host | network is unreachable | insufficient system storage | local configuration error |
            temporarily unavailable | temporary failure | service unavailable | service not available |
            service currently unavailable | delivery temporarily suspended | host not reachable | system not available |
            server busy
            """
        ),
        # 4.1: no answer from the host; but with 5.4.1 Exchange Online refuses whom the directory lacks.
        vague=("3.0", "4.0", "4.1"),
    ),
    Rule(
        Reason.POLICY,
        words=(
            "policy",
            "policies",
            "not authorized",
            "not authorised",
            "not permitted",
            "access denied",
            "administrative",
        ),
        vague=("7.0", "7.1", "7.2"),
    ),
    Rule(
        Reason.PROTOCOL,
        # 5.x: what was said is not what the other side understands; 6.x: extensions that it lacks.
        ("5.1", "5.2", "5.4", "5.5", "5.6", "6.3", "6.5", "6.6", "6.7"),
        _split(
            """
            syntax error | protocol violation | command unrecognized | command not recognized | bad sequence of commands
            """
        ),
        vague=("5.0", "6.0"),
    ),
)

_BY_CODE = {code: rule.reason for rule in TABLE for code in rule.codes}
_BY_VAGUE_CODE = {code: rule.reason for rule in TABLE for code in rule.vague}


def classify(status: str, text: str) -> Reason:
    """
    What went wrong, by the code where it is a telling one, else by the words, else by the code after all.

    A code about security and policy is never taken for one about the recipient, whatever the words: of those that
    refuse a sender many say "no such user".

    @param status: an enhanced status code of any class; empty or nonsense: the words alone count
    """
    code = status.partition(".")[2]
    if (found := _BY_CODE.get(code)) is not None:
        return found
    said = _read_words(text)
    if code.startswith("7."):
        return said if said.fault is Fault.POLICY else Reason.POLICY
    if said is not Reason.UNKNOWN:
        return said
    return _BY_VAGUE_CODE.get(code, Reason.UNKNOWN)


def _read_words(text: str) -> Reason:
    # Lines are broken anywhere, and an apostrophe has two forms. An address says nothing: anybody chooses its words.
    said = text[:WORDS_LIMIT].lower().replace("\u2019", "'").split()
    words = " ".join(word for word in said if "@" not in word)
    return next((rule.reason for rule in TABLE if any(one in words for one in rule.words)), Reason.UNKNOWN)
