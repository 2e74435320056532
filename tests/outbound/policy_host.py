"""
A web server that says what a test has it say, to stand behind TLS as a policy host.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx.b.example\r\nmax_age: 86400\r\n"


@define(eq=False, slots=False)
class PolicyHost(Resource):
    """
    C{body} None: it is silent after the head. C{paths} are what it was asked for, with the host.
    """

    body: bytes | None = GOOD
    code: int = 200
    headers: dict[str, str] = field(factory=lambda: {"Content-Type": "text/plain; charset=utf-8"})
    paths: list[tuple[str, str]] = field(factory=list)
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)

    def render_GET(self, request: Request) -> Any:
        self.paths.append((request.getHeader("host") or "", request.uri.decode()))
        request.setResponseCode(self.code)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        if self.body is None:
            request.write(b"version: STSv1\n")
            return NOT_DONE_YET
        return self.body

    def site(self, clock: Any) -> Site:
        """
        The server, less TLS.
        """
        site = Site(self, reactor=clock)
        site.noisy = False
        return site
