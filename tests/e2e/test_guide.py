"""
What the tests of documents rest on: that an example is found whole, and that one that cannot be found is told.
"""

from __future__ import annotations

import pytest

from tests.e2e.guide import BadDocumentError, Example, find_examples


def test_a_named_block_is_found_whole() -> None:
    """
    Blank lines, longer fences within and comments within are the example's; blocks without a name are not examples.
    """
    text = (
        "# Title\n\n```sh\nother\n```\n\n<!-- example: a.py -->\n````python\nx = 1\n\n```\n"
        "<!-- example: no -->\n````\nafter\n"
    )
    expected = Example("a.py", "python", "x = 1\n\n```\n<!-- example: no -->\n")
    assert {"a.py": expected} == find_examples(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- example: a -->\n\n```sh\nx\n```\n", "a is not followed"),
        ("<!-- example: a -->\n", "a is not followed"),
        ("<!-- example: a -->\n```sh\nx\n", "a does not end"),
        ("```sh\nx\n", "does not end"),
        ("<!-- example: a -->\n```\nx\n```\n", "language"),
        ("<!-- example a -->\n```sh\nx\n```\n", "form of a name"),
        ("<!-- example: a b -->\n```sh\nx\n```\n", "form of a name"),
        ("<!-- example: a -->\n```sh\nx\n```\n<!-- example: a -->\n```sh\ny\n```\n", "two examples are named a"),
    ],
)
def test_what_cannot_be_told_is_an_error(text: str, told: str) -> None:
    """
    A name without a block, a block without an end or a language, and a name that is there twice.
    """
    with pytest.raises(BadDocumentError, match=told):
        find_examples(text)


def test_a_block_in_a_list_is_found() -> None:
    """
    The indentation of the list is not the example's; that within the example is.
    """
    text = "1. First:\n\n   <!-- example: a.sh -->\n   ```sh\n   if x; then\n     y\n   fi\n   ```\n"
    assert {"a.sh": Example("a.sh", "sh", "if x; then\n  y\nfi\n")} == find_examples(text)
