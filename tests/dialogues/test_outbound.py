"""
Every dialogue of the relay with a receiver, in memory: whole, octet by octet, and cut at every boundary.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrelay.testing.certificates import Authority
from tests.dialogues.player import FOLDER, Cut, Dialogue, all_dialogues, by_octets, cut_at, whole
from tests.dialogues.receiver import Receiver
from tests.outbound.bench import Network, Relay, settings

DIALOGUES = all_dialogues(FOLDER / "outbound")
CUTTABLE = [dialogue for dialogue in DIALOGUES if not dialogue.is_whole_only]
MOST_CUTS = 60
MOST_OCTETS = 1000

AUTHORITY = Authority.make()
CONTEXTS = {
    "good": AUTHORITY.issue("mx.example").server_context(),
    "wrong": AUTHORITY.issue("other.example").server_context(),
}


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outbound") / "ca.pem"
    path.write_bytes(AUTHORITY.pem)
    return path


def play(dialogue: Dialogue, cut: Cut, ca_file: Path) -> int:
    """
    The length of the longest segment of the receiver's.
    """
    receiver = Receiver(Relay(Network(), settings(ca_file=ca_file)), CONTEXTS, cut)
    receiver.play(dialogue)
    return receiver.longest


def by_name(dialogue: Dialogue) -> str:
    return dialogue.name


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=by_name)
def test_whole(dialogue: Dialogue, ca_file: Path) -> None:
    """
    The relay says what the dialogue says, and makes of it what it says.
    """
    play(dialogue, whole, ca_file)


@pytest.mark.parametrize("dialogue", CUTTABLE, ids=by_name)
def test_by_octets(dialogue: Dialogue, ca_file: Path) -> None:
    """
    It is the same with a receiver whose octets come one at a time.
    """
    if play(dialogue, whole, ca_file) <= MOST_OCTETS:
        play(dialogue, by_octets, ca_file)


@pytest.mark.parametrize("dialogue", CUTTABLE, ids=by_name)
def test_cut_at_every_boundary(dialogue: Dialogue, ca_file: Path) -> None:
    """
    It is the same wherever a segment ends.
    """
    longest = play(dialogue, whole, ca_file)
    for position in range(1, min(longest, MOST_CUTS)):
        play(dialogue, cut_at(position), ca_file)
