"""
Listening sockets: all or none, by a reload, and where there is no IPv6.
"""

from __future__ import annotations

import errno
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Listener
from lmrelay.config.words import Security
from lmrelay.inbound.listeners import Listeners
from tests.inbound.doubles import Relay


@define(eq=False)
class Port:
    host: IPv4Address
    factory: Any
    stopped: bool = False

    def getHost(self) -> IPv4Address:
        return self.host

    def stopListening(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


@define(eq=False)
class Network:
    """
    A reactor that only listens; C{failures} says where it cannot.
    """

    failures: dict[tuple[str, int], int] = field(factory=dict)
    ports: list[Port] = field(factory=list)

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> Port:
        number = self.failures.get((interface, port))
        if number is not None:
            raise CannotListenError(interface, port, OSError(number, "Address already in use"))
        self.ports.append(Port(IPv4Address("TCP", interface, port or 40000), factory))
        return self.ports[-1]


class ListenersTests(SynchronousTestCase):
    """
    From configured listeners to open ones.
    """

    def setUp(self) -> None:
        self.network = Network()
        self.relay = Relay()
        self.listeners = Listeners(self.network, self.relay.services)  # type: ignore[arg-type]

    def test_start(self) -> None:
        """
        Those that are enabled are opened, and a chosen port is told.
        """
        wanted = (Listener(25), Listener(0), Listener(587, enabled=False))
        self.assertEqual((), self.listeners.change(wanted))
        self.assertEqual({("::", 25, "", 0): 25, ("::", 0, "starttls", 0): 40000}, self.listeners.ports())

    def test_all_or_none(self) -> None:
        """
        One that cannot be opened is named, and none is left open.
        """
        self.network.failures[("::", 587)] = errno.EADDRINUSE
        errors = self.listeners.change((Listener(25), Listener(587), Listener(465, Security.IMPLICIT)))
        self.assertEqual(1, len(errors))
        self.assertTrue(errors[0].startswith("listener [::]:587 (starttls): cannot listen: "))
        self.assertIn("Address already in use", errors[0])
        self.assertEqual([True, True], [port.stopped for port in self.network.ports])
        self.assertEqual({}, self.listeners.ports())

    def test_without_ipv6(self) -> None:
        """
        Every interface is every IPv4 one where there is no IPv6; a named IPv6 address is an error there.
        """
        self.network.failures[("::", 25)] = self.network.failures[("::1", 25)] = errno.EAFNOSUPPORT
        self.assertEqual((), self.listeners.change([Listener(25)]))
        self.assertEqual("0.0.0.0", self.network.ports[0].host.host)
        self.assertEqual(1, len(self.listeners.change([Listener(25, interface="::1")])))

    def test_reload(self) -> None:
        """
        What stays is not touched but for its settings, what goes is closed, what comes is opened.
        """
        self.listeners.change([Listener(25), Listener(587)])
        self.assertEqual((), self.listeners.change([Listener(587, Security.AUTO), Listener(465, Security.IMPLICIT)]))
        self.assertEqual([True, False, False], [port.stopped for port in self.network.ports])
        self.assertIs(Security.AUTO, self.network.ports[1].factory.listener.security)

    def test_free_ports_keep_their_security(self) -> None:
        """
        Where one that asked for any port goes, the others keep theirs as it was.
        """
        kinds = (Security.STARTTLS, Security.IMPLICIT, Security.PLAIN)
        self.listeners.change([Listener(0, security) for security in kinds])
        self.listeners.change([Listener(0, security) for security in kinds[1:]])
        self.assertEqual([True, False, False], [port.stopped for port in self.network.ports])
        self.assertEqual(list(kinds), [port.factory.listener.security for port in self.network.ports])

    def test_another_interface(self) -> None:
        """
        Where the relay itself has the port it says so, and what to do.
        """
        self.listeners.change([Listener(25, interface="::")])
        self.network.failures[("0.0.0.0", 25)] = errno.EADDRINUSE
        expected = (
            "listener 0.0.0.0:25 (starttls): this relay has the port on ::; to move it to another interface takes"
            " a restart"
        )
        self.assertEqual((expected,), self.listeners.change([Listener(25, interface="0.0.0.0")]))
        self.assertFalse(self.network.ports[0].stopped)

    def test_failed_reload(self) -> None:
        """
        A reload that cannot be carried out changes nothing.
        """
        self.listeners.change([Listener(25)])
        self.network.failures[("::", 465)] = errno.EADDRINUSE
        self.assertEqual(1, len(self.listeners.change([Listener(465)])))
        self.assertEqual({("::", 25, "", 0): 25}, self.listeners.ports())
        self.assertFalse(self.network.ports[0].stopped)

    def test_stop(self) -> None:
        """
        Stopping fires once the sessions are gone.
        """
        self.listeners.change([Listener(25)])
        session = self.network.ports[0].factory.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = session
        transport.setTcpNoDelay = lambda enabled: None  # type: ignore[attr-defined]
        session.makeConnection(transport)
        stopped = self.listeners.stop()
        self.assertTrue(self.network.ports[0].stopped)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIn(b"421 4.3.2", transport.value())
