"""
What a route asks for that the rest of the configuration does not let it have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import Problem


def warn_of_routes(config: Config, project: Project, file: str, key: Path) -> Iterator[Problem]:
    """
    What is amiss with a project's routes; C{key} is where the server's key is, or would be.
    """
    taken = any(one.enabled and one.takes_bounces for one in config.listeners)
    for slug, route in project.routes.items():
        for name, what, value in (
            ("unsubscribe_url", "links", route.unsubscribe_url),
            ("return_path", "return paths", route.return_path),
        ):
            if value and not config.token_key:
                reason = (
                    f"its {what} cannot be signed, so its messages wait: there is no {key};"
                    f" `lmrelay route key {project.slug} {slug}` makes it, for the next reload to take over"
                )
                yield Problem(file, f"routes.{slug}.{name}", reason)
        if route.return_path and not taken:
            reason = (
                "has a return_path, but no listener takes what comes back: open port 25, or set bounces = true on one"
            )
            yield Problem(file, f"routes.{slug}", reason)
