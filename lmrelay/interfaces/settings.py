"""
What every room reads.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface

from lmrelay.config.values import Config


class ISettings(Interface):
    """
    The configuration in force. A reload replaces C{config} at one stroke, so read it
    where it is used, once per session, message or attempt, and keep no copy.
    """

    config: Config = Attribute("The configuration in force.")
