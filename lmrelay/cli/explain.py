"""
C{lmrelay explain}: the whole story of a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.queue import find_message, with_iso_times
from lmrelay.cli.story import FINAL, tell
from lmrelay.config.values import Config
from lmrelay.outbound.rules import find_limits


def with_settings(story: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """
    The story with what the configuration knows: the name of the token, when recipients are given up, and the limits
    of their sites.
    """
    project = config.projects.get(story["project"])
    names = {token.id: token.name for token in project.tokens} if project else {}
    recipients = []
    for one in story["recipients"]:
        open_ = one["state"] not in FINAL
        expires = story["received"] + one.get("extended", 0.0) + config.delivery.expire if open_ else None
        site = one.get("site")
        if site is not None:
            limits = find_limits(config, site["hosts"].split(";")[0].split(","))
            site = {**site, "ceiling": limits.connections, "rate": limits.rate}
        recipients.append({**one, "expires": expires, "site": site})
    return {**story, "token_name": names.get(story.get("token") or ""), "recipients": recipients}


@click.command()
@click.argument("message")
@pass_invocation
def explain(invocation: Invocation, message: str) -> None:
    """
    Tell the whole story of a message.

    Who submitted it, every attempt step by step with the remote's own words and the TLS that was
    used, what came back, which endpoints were told, what it waits for now, and when it goes on.
    MESSAGE is an id or the beginning of one.
    """
    tell_story(invocation, message)


def tell_story(invocation: Invocation, message: str) -> None:
    """
    Print it.

    @raise click.ClickException: there is no such message, or more than one
    """
    config = invocation.load()
    with invocation.open_desk() as desk:
        story = with_iso_times(with_settings(desk.story(find_message(desk, message)), config))
    invocation.output.document(story)
    for line in tell(story, invocation.wall()):
        invocation.output.line(line)
