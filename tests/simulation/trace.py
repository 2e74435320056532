"""
How a broken promise came about: of all that happened in a story, what had to do with it, in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.simulation.chronicle import Entry
from tests.simulation.story import Ending, Story

MOST = 200
"""
Lines of a trace.
"""

_NAMED = re.compile(r"\bL\d+\b")


def play_aloud(seed: int, letters: int, storm: float, profile: str) -> tuple[Ending, Iterator[str]]:
    """
    Play one story, and write all of it down: what came of it, and the trace of what is broken first.
    """
    with TemporaryDirectory(prefix="lmrelay-simulation-") as folder:
        story = Story(seed, Path(folder) / "relay", letters, storm, profile, is_told=True)
        ending = story.play()
    return ending, trace(story, ending.broken)


def trace(story: Story, broken: Sequence[str]) -> Iterator[str]:
    """
    The lines about the first letter that is named there, and about what befell all alike.
    """
    named = _NAMED.search(" ".join(broken))
    if not broken:
        return
    about = _find_words(story, named.group()) if named else ()
    entries = [one for one in story.world.chronicle.entries if _concerns(one, about)]
    yield f"--- {named.group() if named else 'the story'}: {', '.join(about)}"
    left_out = len(entries) - MOST
    for one in entries[:MOST]:
        yield f"{one.at:10.3f}  {one.who:<28}  {one.what}"
    if left_out > 0:
        yield f"… and {left_out} more"


def _find_words(story: Story, name: str) -> tuple[str, ...]:
    """
    Words by which a letter is known on wires and in the store.
    """
    for application in story.promises.applications:
        for letter in (*application.accepted, *application.given_up, *application.outbox):
            if letter.name == name:
                return tuple(one for one in (name, letter.id, *(to.address for to in letter.recipients)) if one)
    return (name,)


def _concerns(entry: Entry, words: Sequence[str]) -> bool:
    return not entry.is_detail or any(re.search(rf"(?<![\w.]){re.escape(word)}(?![\w])", entry.what) for word in words)
