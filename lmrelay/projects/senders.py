"""
Which domains a project may send as.
"""

from __future__ import annotations


def is_allowed(domain: str, allowed: tuple[str, ...]) -> bool:
    """
    Is C{domain} (A-labels, lower case) one of those allowed? An entry that begins with a dot
    allows the subdomains and not the domain itself; C{*} allows any.
    """
    return any(
        entry == "*" or domain == entry or (entry.startswith(".") and domain.endswith(entry) and domain != entry[1:])
        for entry in allowed
    )
