"""
Hosts that are bad at TLS, and mail that must not go without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from attrs import define, evolve, field
from sqlalchemy import Connection, select

from lmrelay.config.values import DomainDelivery
from lmrelay.config.words import TlsPolicy
from lmrelay.queue.schema import attempt, message, recipient
from lmrelay.testing.name_server import Said
from tests.simulation.receivers import Arrival
from tests.simulation.tls_hosts import KNOWN, PolicyHost, Tls, TlsHost
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.world import START

TXT = 16
ENFORCED_ROUTE = ("acme", "news")
ENFORCED_DOMAIN = "d.example"
PUBLISHING_DOMAIN = "b.example"
"""
What must go over a connection that proves the host: mail of that route, to that domain, and, once its policy was
fetched, to the domain that publishes one.
"""

KNOWN_BY = 60.0
"""
Seconds after which mail goes by a policy that was fetched: what was looked up before is still under way.
"""

OURS = frozenset({"4.7.5", "5.7.10"})
"""
Codes of mail that waits, or fails, because it asks for more than the host showed.
"""


@define(eq=False)
class Security(Trouble):
    """
    Mail that must be secured waits for hosts that are not, and never goes to anybody else or in clear; all other mail
    takes what it can get.
    """

    broken: list[str] = field(factory=list, init=False)
    _hosts: list[TlsHost] = field(factory=list, init=False)
    _policy_host: PolicyHost = field(init=False)
    _starts: list[float] = field(factory=list, init=False)

    def started(self) -> None:
        self._starts.append(self.story.world.network.seconds())

    def begin(self) -> None:
        world = self.story.world
        ca_file = world.folder / "ca.pem"
        ca_file.write_bytes(KNOWN.pem)
        domains = {ENFORCED_DOMAIN: DomainDelivery(TlsPolicy.ENFORCED)}
        project, route = ENFORCED_ROUTE
        enforced = evolve(world.config.projects[project].routes[route], tls=TlsPolicy.ENFORCED)
        tenant = world.config.projects[project]
        tenant = evolve(tenant, routes={**tenant.routes, route: enforced})
        world.config = evolve(
            world.config,
            delivery=evolve(world.config.delivery, ca_file=ca_file, domains=domains),
            projects={**world.config.projects, project: tenant},
        )
        self._publish()
        for receiver in world.receivers:
            host = TlsHost(receiver, world.random(f"tls of {receiver.host}"))
            receiver.arrived = partial(self._check, host)
            # The senders' own is always well: nobody would hear of notifications that expire.
            if receiver in self.story.moody:
                self._hosts.append(host)
                self._change(host)

    def _publish(self) -> None:
        world = self.story.world
        zone, name, address = world.zone, f"mta-sts.{PUBLISHING_DOMAIN}", "8.9.1.1"
        text = b"v=STSv1; id=1;"
        zone.say(f"_mta-sts.{PUBLISHING_DOMAIN}", TXT, Said((bytes([len(text)]) + text,)))
        zone.addresses(name, address)
        mx = world.receivers[0].host
        self._policy_host = PolicyHost(world.network, PUBLISHING_DOMAIN, address, mx, world.random(name))

    def _change(self, host: TlsHost) -> None:
        if self.story.is_stormy:
            is_bad = self.chance.random() < self.weight * 0.7
            host.mood = self.chance.choice((*Tls,)) if is_bad else Tls.GOOD
            self.story.note(host.receiver.host, f"its TLS is {host.mood.value}")
            self.story.at(self.chance.uniform(0.05, 0.4) * self.story.storm, self._change, host)

    def calm(self) -> None:
        self._policy_host.is_well = True
        for host in self._hosts:
            is_lost = self.chance.random() < 0.2 * self.weight
            host.mood = self.chance.choice((*Tls,)) if is_lost else Tls.GOOD
            self.story.note(host.receiver.host, f"its TLS is {host.mood.value} from now on")

    def _check(self, host: TlsHost, arrival: Arrival) -> None:
        """
        Was all that came secured as it must be?
        """
        if host.has_proved(arrival):
            return
        subject = arrival.field("Subject")
        routes = self._find_routes(subject)
        for address in arrival.message.addresses:
            domain = address.rpartition("@")[2].lower()
            if ENFORCED_ROUTE in routes or self._must_be_secured(domain):
                how = arrival.message.tls or "in clear"
                self.broken.append(f"{subject} to {address} came to {host.receiver.host} {how}, unproved")

    def _find_routes(self, subject: str) -> set[tuple[str, str]]:
        """
        Project and route of a letter; nothing for a notification.
        """
        slugs = ("acme", "beta", "acme")
        return {
            (slug, letter.route)
            for slug, application in zip(slugs, self.story.promises.applications, strict=True)
            for letter in (*application.accepted, *application.outbox, *application.given_up)
            if letter.name == subject
        }

    def _must_be_secured(self, domain: str) -> bool:
        if domain == PUBLISHING_DOMAIN:
            return any(self._is_known(at) for at in self._policy_host.served)
        return domain == ENFORCED_DOMAIN

    def _is_known(self, at: float) -> bool:
        """
        Is the policy known that went out then? Not if the process ended before it had written it.
        """
        lived = not any(at < start < at + 2 * KNOWN_BY for start in self._starts)
        return lived and at + KNOWN_BY < self.story.world.network.seconds()

    def find_broken(self) -> Iterable[str]:
        yield from self.broken
        yield from self._find_unasked()

    def _find_unasked(self) -> Iterator[str]:
        """
        What waited for a security that nobody asked for.
        """
        for row in self.story.world.read(_read_waited):
            if (row.project, row.route) == ENFORCED_ROUTE or row.domain in (ENFORCED_DOMAIN, PUBLISHING_DOMAIN):
                continue
            yield f"{row.subject} to {row.domain} waited at {row.started_at - START:.0f} s for no reason: {row.text}"


def _read_waited(connection: Connection) -> list[Any]:
    mine = (recipient.c.message == attempt.c.message, recipient.c.number == attempt.c.recipient)
    columns = (message.c.subject, message.c.project, message.c.route, recipient.c.domain)
    query = select(*columns, attempt.c.started_at, attempt.c.text).where(
        *mine, message.c.id == attempt.c.message, attempt.c.status.in_(OURS), attempt.c.reply.is_(None)
    )
    return list(connection.execute(query.order_by(attempt.c.started_at)))
