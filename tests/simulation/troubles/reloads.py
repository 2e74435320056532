"""
Configurations that change under load: tokens, projects and routes that are gone for a while, limits, and such as are
wrong and never take force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import define, evolve, field
from twisted.internet.defer import fail

from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import ConfigError, Problem
from tests.simulation.applications import Application, Letter
from tests.simulation.troubles.trouble import Trouble

BORNE = ("535 5.7.8", '554 5.6.0 Route "news"')
"""
What applications hear for good while their token, their project or a route is gone.
"""

MOST = 3
"""
Messages an hour, where there is a limit.
"""


@define(eq=False)
class Ban:
    """
    While this holds C{most} messages of the project may be accepted, of those whose envelopes come after it took force.
    """

    what: str
    project: str
    most: int
    begun_at: float | None = None
    ended_at: float | None = None

    def counts(self, letter: Letter) -> bool:
        """
        Was it sent and accepted while this was in force?
        """
        if self.begun_at is None or letter.begun_at <= self.begun_at:
            return False
        if self.most and letter.doubted_at <= self.begun_at:
            # What was taken before is told once more, over no limit.
            return False
        return self.ended_at is None or letter.accepted_at < self.ended_at


def _revoke(project: Project) -> Project:
    return evolve(project, tokens=())


def _switch_off(project: Project) -> Project:
    return evolve(project, smtp=False)


def _limit(project: Project) -> Project:
    return evolve(project, max_messages_per_hour=MOST)


def _drop_route(project: Project) -> Project:
    return evolve(project, routes={slug: route for slug, route in project.routes.items() if slug != "news"})


BANNING: dict[str, tuple[Callable[[Project], Project], int | None]] = {
    "token revoked": (_revoke, 0),
    "SMTP off": (_switch_off, 0),
    "limit": (_limit, MOST),
    "route removed": (_drop_route, None),
}
"""
Changes of a project, and how many messages it may hand over while they hold; None: any.
"""

REMOVED, NARROW, WRONG = "removed", "narrow", "wrong"
"""
Other changes: the project is gone, delivery has few connections, and the configuration is none.
"""


def make_change(what: str, slug: str) -> Callable[[Config], Config]:
    """
    What that does to a configuration, for that project.
    """

    def change(config: Config) -> Config:
        if what == NARROW:
            return evolve(config, delivery=evolve(config.delivery, connections_per_site=1, messages_per_connection=1))
        projects = dict(config.projects)
        project = projects.pop(slug)
        if what != REMOVED:
            projects[slug] = BANNING[what][0](project)
        return evolve(config, projects=projects)

    return change


@define(eq=False)
class Reloads(Trouble):
    """
    The operator edits and reloads, and takes it back some time later.
    """

    _bans: list[Ban] = field(factory=list, init=False)
    _active: dict[str, Ban | None] = field(factory=dict, init=False)

    def begin(self) -> None:
        for application in self.story.promises.applications:
            application.bears = BORNE
        for _ in range(self.some(8)):
            self.sometime(self._change)

    def _change(self) -> None:
        slug = self.chance.choice(("acme", "beta"))
        what = self.chance.choice((*BANNING, REMOVED, NARROW, WRONG))
        if what == WRONG:
            self._reload_wrong()
        elif not any(name.endswith(slug) for name in self._active):
            self._make(what, slug)

    def _make(self, what: str, slug: str) -> None:
        name = f"{what} {slug}"
        self.story.note("operator", f"reloads: {name}")
        most = BANNING[what][1] if what in BANNING else 0 if what == REMOVED else None
        ban = None if most is None else Ban(what, slug, most)
        if ban is not None:
            self._bans.append(ban)
        if what == REMOVED:
            self.story.promises.removed.add(slug)
        self._active[name] = ban
        self.story.world.change(name, make_change(what, slug)).addCallback(self._in_force, ban)
        self.story.at(self.chance.uniform(2, 50), self._take_back, name)

    def _reload_wrong(self) -> None:
        self.story.note("operator", "reloads a wrong configuration")
        self.story.world.reload(lambda: fail(ConfigError(Problem("lmrelay.toml", "server", "is wrong"))))

    def _in_force(self, taken: bool, ban: Ban | None) -> None:
        if taken and ban is not None and ban.begun_at is None:
            ban.begun_at = self.story.world.network.seconds()

    def _take_back(self, name: str) -> None:
        if name in self._active:
            ban = self._active.pop(name)
            self.story.note("operator", f"reloads, without: {name}")
            if ban is not None:
                ban.ended_at = self.story.world.network.seconds()
            self.story.world.change(name, None)

    def started(self) -> None:
        for ban in self._active.values():
            self._in_force(True, ban)

    def calm(self) -> None:
        for name in list(self._active):
            self._take_back(name)

    def was_removed(self, project: str) -> bool:
        """
        Was the project not there for a while?
        """
        return any(ban.what == "removed" and ban.project == project for ban in self._bans)

    def find_broken(self) -> Iterator[str]:
        for ban in self._bans:
            letters = [
                letter for one in self._applications(ban.project) for letter in one.accepted if ban.counts(letter)
            ]
            if len(letters) > ban.most:
                names = [letter.name for letter in letters]
                yield f"{names} of {ban.project} were accepted ({ban.what} since {ban.begun_at:.3f} s)"

    def _applications(self, project: str) -> Iterator[Application]:
        token = self.story.world.tokens[project]
        yield from (one for one in self.story.promises.applications if one.token == token)
