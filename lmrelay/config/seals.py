"""
Tokens sealed under the server's key, so that CRAM-MD5, which needs the token itself, can be answered.

AES-GCM (NIST SP 800-38D) with the project and the token's id as context: a seal that is
copied to another project or token opens there for nobody.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

from attrs import evolve
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lmrelay.config.project import Project, Token

_NONCE = 12


def _context(project: str, token_id: str) -> bytes:
    # A zero octet is in neither name, so no other pair gives the same context.
    return f"{project}\0{token_id}".encode()


def seal(token: str, key: bytes, project: str, token_id: str, entropy: Callable[[int], bytes]) -> str:
    """
    C{token} under the server's key, in base 64; it opens only for that project and id.

    @param entropy: C{entropy(n)} gives n random octets
    """
    nonce = entropy(_NONCE)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, token.encode(), _context(project, token_id))).decode()


def unseal(sealed: str, key: bytes, project: str, token_id: str) -> str | None:
    """
    The token in C{sealed}; None if it was sealed under another key, for another token, or altered.
    """
    try:
        octets = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(octets[:_NONCE], octets[_NONCE:], _context(project, token_id)).decode()
    except (InvalidTag, binascii.Error, ValueError):
        return None


def break_seals(projects: Mapping[str, Project], key: bytes) -> tuple[dict[str, Project], dict[str, list[str]]]:
    """
    The projects without the seals that C{key} does not open, and the names of those tokens by project.

    A seal that does not open is as none: were CRAM-MD5 offered for it, clients would take it
    and fail with the right token.
    """
    kept: dict[str, Project] = {}
    broken: dict[str, list[str]] = {}
    for slug, project in projects.items():
        tokens = tuple(_without_bad_seal(token, key, slug) for token in project.tokens)
        names = [old.name for old, new in zip(project.tokens, tokens, strict=True) if old is not new]
        if names:
            broken[slug] = names
            project = evolve(project, tokens=tokens)
        kept[slug] = project
    return kept, broken


def _without_bad_seal(token: Token, key: bytes, slug: str) -> Token:
    if not token.cram or unseal(token.cram, key, slug, token.id) is not None:
        return token
    return evolve(token, cram="")
