"""
Receivers with bad hours, and such as stay bad.
"""

from __future__ import annotations

from attrs import define

from tests.simulation.receivers import Mood, Receiver
from tests.simulation.troubles.trouble import Trouble


@define(eq=False)
class Moods(Trouble):
    """
    Receivers' moods change every few minutes. In the end most are well again, and what is for the others expires.
    """

    def begin(self) -> None:
        for receiver in self.story.moody:
            self._change(receiver)

    def _change(self, receiver: Receiver) -> None:
        if self.story.is_stormy:
            mood = self.chance.choice((*Mood,)) if self.chance.random() < self.weight * 0.7 else Mood.WELL
            self.story.note(receiver.host, f"is {mood.value}")
            receiver.feel(mood)
            self.story.at(self.chance.uniform(0.03, 0.5) * self.story.storm, self._change, receiver)

    def calm(self) -> None:
        for receiver in self.story.moody:
            is_gone = self.chance.random() < 0.35 * self.weight
            mood = self.chance.choice((Mood.CLOSED, Mood.SILENT, Mood.STALLING)) if is_gone else Mood.WELL
            self.story.note(receiver.host, f"is {mood.value} from now on")
            receiver.feel(mood)
