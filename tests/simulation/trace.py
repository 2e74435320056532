"""
How a broken promise came about: of all that happened in a story, what had to do with it, in order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.simulation.chronicle import Entry
from tests.simulation.story import Ending, Story

MOST = 200
"""
Lines of a trace.
"""

AROUND = 4
"""
Lines of a wire before and after one that names the mail.
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
    entries = story.world.chronicle.entries
    chosen = sorted(_choose(entries, about))
    yield f"--- {named.group() if named else 'the story'}: {', '.join(about)}"
    for place in chosen[:MOST]:
        at, who, what, _ = entries[place]
        yield f"{at:10.3f}  {who:<12}  {what}"
    if len(chosen) > MOST:
        yield f"… and {len(chosen) - MOST} more"


def _choose(entries: Sequence[Entry], words: Sequence[str]) -> set[int]:
    """
    The places of what befell all, of what names one of these, and of what else was said around it on the same wire.
    """
    named = re.compile("|".join(rf"(?<![\w.]){re.escape(word)}(?!\w)" for word in words) or "(?!)")
    chosen: set[int] = set()
    wires: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(entries):
        if one.who.startswith("wire "):
            wires[one.who].append(place)
        elif not one.is_detail or named.search(one.what):
            chosen.add(place)
    for places in wires.values():
        for number, place in enumerate(places):
            if named.search(entries[place].what):
                chosen.update(places[max(0, number - AROUND) : number + AROUND + 1])
    return chosen


def _find_words(story: Story, name: str) -> tuple[str, ...]:
    """
    Words by which a letter is known on wires and in the store.
    """
    for application in story.promises.applications:
        for letter in (*application.accepted, *application.given_up, *application.outbox):
            if letter.name == name:
                return tuple(one for one in (name, letter.id, *(to.address for to in letter.recipients)) if one)
    return (name,)
