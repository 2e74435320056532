"""
What was done and said in an attempt, as text for the store: its steps in order, each with how long it took.

The text is a JSON array; a step is an array of its name, the microseconds that it took (null: it was not timed) and, in
words, what came of it. Delivery must hardly feel it: what belongs to a connection is rendered once, with its first
message, and of replies to a message that all its recipients got there is only the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import Union

from attrs import define, field

from lmrelay.mail.address import Address
from lmrelay.mail.outcome import Delivered
from lmrelay.mail.redact import redact
from lmrelay.outbound.steps import Step
from lmrelay.outbound.verdicts import Reach, Trouble, Verdict
from lmrelay.smtp.reply import Reply

LIMIT = 4096
"""
Octets of a trace. What is in the middle goes first: how it began and how it ended says most.
"""

WORDS = 240
"""
Characters of a step's words.
"""

Heard = tuple[Step, int, float, Union[Reply, Trouble, None]]
"""
A step of a transaction, whose recipient's (-1: all of them), when it ended, and how; None: our part of it was done.
"""

NAMES = {each: each.name.lower() for each in Step}


def step(name: str, seconds: float | None = None, text: str = "") -> str:
    """
    One step.
    """
    took = "null" if seconds is None else max(int(seconds * 1e6), 0)
    return f'["{name}",{took},{_cut(text)}]' if text else f'["{name}",{took}]'


def words(said: Reply | Trouble | None) -> str:
    """
    What came of a step.
    """
    return "" if said is None else str(said) if isinstance(said, Reply) else said.text


def _cut(text: str) -> str:
    """
    The text quoted, in ASCII, and not too long that way either.
    """
    if len(text) > WORDS:
        text = f"{text[: WORDS - 1]}…"
    quoted: str = quote(text)
    while len(quoted) > 2 * WORDS:
        text = f"{text[: len(text) // 2]}…"
        quoted = quote(text)
    return quoted


@define(eq=False)
class Spoken:
    """
    What was said in one transaction: C{steps} are everybody's, or stand in a row and are each recipient's own, by
    number (only where C{differ} is True). C{brief}: all went well, on a connection that was there before, so that it
    says all there is to say.
    """

    steps: list[str | dict[int, str]] = field(factory=list)
    brief: bool = False
    differ: bool = False

    def add(self, whose: int, text: str) -> None:
        """
        A step of one recipient, or (-1) of all.
        """
        if whose < 0:
            self.steps.append(text)
            return
        self.differ = True
        if self.steps and isinstance(last := self.steps[-1], dict) and whose not in last:
            last[whose] = text
        else:
            self.steps.append({whose: text})

    def steps_of(self, number: int) -> list[str]:
        """
        Those of one recipient.
        """
        if not self.differ:
            return self.steps  # type: ignore[return-value]
        mine = [one if type(one) is str else one.get(number, "") for one in self.steps]  # type: ignore[union-attr]
        return mine if all(mine) else [one for one in mine if one]


def listen(
    heard: Sequence[Heard],
    began: float,
    nth: int,
    verdicts: Mapping[int, Verdict],
    secret: Iterable[Address | None] | None = None,
) -> Spoken:
    """
    A transaction that C{began} then, the C{nth} on its connection, and how it ended.

    @param secret: addresses that may not stand in a trace, nor whatever a receiver says of them; None: all may
    """
    spoken, before = Spoken([f'["kept",null,"{nth}"]'] if nth > 1 else []), began
    for verdict in verdicts.values():
        if type(verdict.outcome) is not Delivered:
            break
    else:
        lone = len(verdicts) == 1
        for what, whose, at, said in heard:
            code = f',"{said.code}"' if type(said) is Reply else ""
            text = f'["{NAMES[what]}",{int((at - before) * 1e6)}{code}]'
            if lone:
                spoken.steps.append(text)
            else:
                spoken.add(whose, text)
            before = at
        spoken.brief = nth > 1
        return spoken
    for what, whose, at, said in heard:
        spoken.add(whose, step(NAMES[what], at - before, words(said) if secret is None else _hide(said, secret)))
        before = at
    for number, verdict in verdicts.items():
        if verdict.reach is Reach.MESSAGE and not isinstance(verdict.outcome, Delivered):
            text = verdict.outcome.text
            spoken.add(number, step("unfit", None, text if secret is None else redact(text, secret)))
    return spoken


def _hide(said: Reply | Trouble | None, secret: Iterable[Address | None]) -> str:
    if isinstance(said, Reply):
        # Nobody can say what else the receiver's words tell.
        return f"{said.code} {said.enhanced or ''}".rstrip()
    return redact(words(said), secret)


@define(eq=False)
class Trace:
    """
    The steps of an attempt for some recipients of a message. C{hosts} are those of their site in one word (empty:
    there is none yet); C{asked} is how many seconds the DNS took to name them, 0 where they were known.
    """

    hosts: str = ""
    asked: float = 0.0
    _steps: list[str | Spoken] = field(factory=list, init=False)

    def note(self, name: str, seconds: float | None, text: str) -> None:
        """
        This was done.
        """
        self._steps.append(step(name, seconds, text))

    def add(self, steps: Iterable[str]) -> None:
        """
        These were.
        """
        self._steps += steps

    def hear(self, spoken: Spoken) -> None:
        """
        A transaction was made.
        """
        self._steps.append(spoken)

    def render(self, number: int) -> str:
        """
        As text, for the recipient of that number.
        """
        steps = self._steps
        if len(steps) == 1 and not self.asked and isinstance(only := steps[0], Spoken) and only.brief:
            return f"[{','.join(only.steps_of(number))}]"
        told = [step("mx", self.asked or None, self.hosts)]
        for one in steps:
            if isinstance(one, str):
                told.append(one)
            else:
                told += one.steps_of(number)
        return join(told)


def join(steps: Sequence[str]) -> str:
    """
    Steps as one text of at most L{LIMIT} octets.
    """
    text = f"[{','.join(steps)}]"
    if len(text) <= LIMIT:
        return text
    room, first, last = LIMIT // 2 - len('["left out",null,"1000"],[]'), 0, len(steps)
    for size in map(len, steps):
        room -= size + 1
        if room < 0:
            break
        first += 1
    room = LIMIT // 2
    while (room := room - len(steps[last - 1]) - 1) >= 0:
        last -= 1
    return f"[{','.join([*steps[:first], step('left out', None, str(last - first)), *steps[last:]])}]"
