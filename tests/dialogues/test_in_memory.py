"""
Every dialogue, in memory: whole, octet by octet, and cut at every boundary.
"""

from __future__ import annotations

import pytest
from attrs import evolve
from twisted.internet.defer import fail

from lmrelay.config.project import Project
from lmrelay.config.values import Bounces, Limits, SubmissionRules
from lmrelay.config.words import BareNewlines, Security
from lmrelay.errors import Refused, StoreError, StoreFull
from lmrelay.smtp import replies
from tests.dialogues.player import Cut, Dialogue, Player, all_dialogues, by_octets, cut_at, whole
from tests.inbound.doubles import OFF_TOKEN, SIGNED, TOKEN, Relay, await_returns
from tests.inbound.peers import MemoryPeer

WORDS = {"token": TOKEN, "off": OFF_TOKEN, "host": "mx.example.org", **SIGNED}
MOST_CUTS = 120

DIALOGUES = all_dialogues()
CUTTABLE = [dialogue for dialogue in DIALOGUES if not dialogue.is_whole_only]


def play(dialogue: Dialogue, cut: Cut) -> int:
    """
    The length of the longest block that was sent.
    """
    relay = Relay(Security(dialogue.security), bounces="bounces" in dialogue.needs)
    if "small" in dialogue.needs:
        relay.settings.config = evolve(relay.config, limits=Limits(message_size=1000))
    if "reject" in dialogue.needs:
        relay.settings.config = evolve(relay.config, submission=SubmissionRules(bare_newlines=BareNewlines.REJECT))
    if "limited" in dialogue.needs:
        limited = Project("acme", max_size=1000, max_recipients=2)
        relay.realm.submitter.configured = limited
        relay.settings.config = evolve(relay.config, projects={"acme": limited})
    if "bounces" in dialogue.needs:
        await_returns(relay)
        relay.settings.config = evolve(relay.settings.config, bounces=Bounces(message_size=1000))
    if "crowded" in dialogue.needs:
        relay.realm.most = 0
    if "spent" in dialogue.needs:
        relay.acceptance.quota = Refused(replies.over_quota(100, "hour", "project acme", "2026-11-21T08:00:00Z"))
    if "full" in dialogue.needs:
        relay.acceptance.room = StoreFull()
    if "broken" in dialogue.needs:
        relay.acceptance.answers = [fail(StoreError("down"))]
    peer = MemoryPeer(relay)
    player = Player(peer, WORDS, cut)
    player.play(dialogue)
    assert [line for line in peer.heard() if line] == []
    return player.longest


def by_name(dialogue: Dialogue) -> str:
    return dialogue.name


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=by_name)
def test_whole(dialogue: Dialogue) -> None:
    """
    The server says what the dialogue says.
    """
    play(dialogue, whole)


@pytest.mark.parametrize("dialogue", CUTTABLE, ids=by_name)
def test_by_octets(dialogue: Dialogue) -> None:
    """
    It says the same to a client whose octets come one at a time.
    """
    if play(dialogue, whole) <= 3000:
        play(dialogue, by_octets)


@pytest.mark.parametrize("dialogue", CUTTABLE, ids=by_name)
def test_cut_at_every_boundary(dialogue: Dialogue) -> None:
    """
    It says the same wherever a segment ends.
    """
    longest = play(dialogue, whole)
    for position in range(1, min(longest, MOST_CUTS)):
        play(dialogue, cut_at(position))
