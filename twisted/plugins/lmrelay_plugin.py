"""
C{twistd lmrelay}.
"""

from twisted.application.service import ServiceMaker

lmrelay = ServiceMaker(
    "lmrelay",
    "lmrelay.tap",
    "A multi-tenant mail relay: accepted means on disk, and nothing accepted is ever lost.",
    "lmrelay",
)
