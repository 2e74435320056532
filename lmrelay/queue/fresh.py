"""
What is known of mail that this worker stored a moment ago and now delivers, so that its outcome need not be preceded
by a read: in most cases the first attempt is the last.
"""

from __future__ import annotations

from attrs import define, field

from lmrelay.queue.rows import Row
from lmrelay.queue.statements import Open


@define(eq=False)
class Fresh:
    """
    Messages with one recipient whom nothing was tried for yet; of no more than C{limit}.

    What is said here was true when it was put, and may be no more: an operator may have ended it, another worker may
    have taken it. So whoever goes by it makes sure of that in the commit, with L{update_first}.
    """

    limit: int = 4096
    _kept: dict[str, Open] = field(factory=dict, init=False)

    def put(self, message: Row, recipient: Row) -> None:
        """
        These rows were stored.
        """
        kept = self._kept
        if len(kept) >= self.limit:
            # All, for the thread that writes takes meanwhile, and so no single one can be looked for.
            kept.clear()
        kept[message["id"]] = Open(
            message["id"],
            recipient["number"],
            recipient["address"],
            recipient["notify"],
            recipient["orcpt_type"],
            recipient["orcpt"],
            recipient["attempts"],
            recipient["owner"],
            recipient["delay_told"],
            recipient["extended"],
            message["project"],
            message["route"],
            message["notification"],
            message["received_at"],
            message["body"],
            message["redact"],
            message["reverse_path"],
        )

    def take(self, message: str) -> Open | None:
        """
        Its recipient, which is then forgotten, for an attempt changes it.
        """
        return self._kept.pop(message, None)
