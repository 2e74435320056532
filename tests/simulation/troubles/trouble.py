"""
What all families of troubles have in common: how a story tells them of its beginning, its calm and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from tests.simulation.story import Story


@define(eq=False)
class Trouble:
    """
    One family of troubles in one story. C{weight} is how much of it there is: 1 is what a story is about, less where it
    only comes with others.

    C{chance} is its own source of chance, so that what one family draws changes nothing of what others do. What a
    family needs of the world beyond L{Story.at} it changes there: the configuration, the zone and the servers in
    L{begin}, before the relay starts; everything else whenever it likes.
    """

    story: Story
    weight: float = 1.0
    chance: Random = field(init=False)

    @chance.default
    def _make_chance(self) -> Random:
        return self.story.world.random(type(self).__name__)

    def begin(self) -> None:
        """
        The story begins; the relay is not started yet, and the scene is set. Times are given to L{Story.at}.
        """

    def started(self) -> None:
        """
        The relay is ready, for the first time or after a death or a stop.
        """

    def died(self) -> None:
        """
        The process died; the store is closed and can be read.
        """

    def calm(self) -> None:
        """
        The storm is over: all is well again, but for what is to stay so for good, which mail must survive.
        """

    def is_over(self) -> bool:
        """
        Has all that it waits for come to its end? Asked now and then after the storm; a story has its patience.
        """
        return True

    def find_broken(self) -> Iterable[str]:
        """
        The promises of its own that were not kept, a line each; asked once, at the end.
        """
        return ()

    # --- what is drawn the same way everywhere ------------------------------------------------

    def some(self, most: int) -> int:
        """
        How often something happens: up to that, by C{weight}.
        """
        return self.chance.randrange(int(most * self.weight) + 1)

    def sometime(self, call: Callable[..., object], *arguments: object) -> None:
        """
        Do this somewhen in the storm.
        """
        self.story.at(self.chance.uniform(0, self.story.storm), call, *arguments)
