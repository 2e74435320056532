"""
C{lmrelay explain}: the whole story of a message.
"""

from __future__ import annotations

import click

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.queue import find_message, with_iso_times
from lmrelay.cli.story import tell


@click.command()
@click.argument("message")
@pass_invocation
def explain(invocation: Invocation, message: str) -> None:
    """
    Tell the whole story of a message.

    Who submitted it, every attempt with the remote's own words and the TLS that was used, what it
    waits for now, and when it goes on. MESSAGE is an id or the beginning of one.
    """
    with invocation.open_desk() as desk:
        story = with_iso_times(desk.story(find_message(desk, message)))
    invocation.output.document(story)
    for line in tell(story, invocation.wall()):
        invocation.output.line(line)
