"""
The text of a project's file, edited.
"""

from __future__ import annotations

import datetime
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.cli.projecttext import add_route, add_token, new_project, remove_token, switch

FILE = """\
# Acme, asked for by Ann.
smtp = true   # the switch
domains = ["acme.example"]

# The website's.
[[tokens]]
name = "website"  # live since May
id = "one"

# The newsletter's; [[tokens]] in a comment.
[[tokens]]
name = "newsletter"
id = "two"

# Routes
[routes.outgoing]
kind = "transactional"
"""

TOKEN = {"name": "new", "id": "three", "expires": datetime.date(2027, 1, 1), "networks": ["192.0.2.0/24"]}


def test_new_project() -> None:
    """
    A new project's file says that it is on and who it may send as.
    """
    assert {"smtp": True, "domains": ["a.example", '"']} == tomllib.loads(new_project(["a.example", '"']))


def test_switch_changes_one_word() -> None:
    """
    Switching touches the value and nothing else, and back again gives the very same text.
    """
    off = switch(FILE, False)
    assert off == FILE.replace("smtp = true", "smtp = false")
    assert switch(off, True) == FILE
    assert switch(FILE, True) == FILE


@pytest.mark.parametrize(
    "text", ["", "domains = []", "[routes.outgoing]\nkind = 'broadcast' # x\n", "# only a comment", "'smtp' = true\n"]
)
def test_switch_where_it_was_not(text: str) -> None:
    """
    Where nothing was said the switch is written, above the tables.
    """
    switched = switch(text, False)
    assert {**tomllib.loads(text), "smtp": False} == tomllib.loads(switched)


def test_switch_is_not_fooled() -> None:
    """
    A line in a string that looks like the switch is left alone.
    """
    text = 'note = """\nsmtp = true\n"""\nsmtp = true\n'
    assert switch(text, False) == 'note = """\nsmtp = true\n"""\nsmtp = false\n'


def test_token_is_added_behind_the_others() -> None:
    """
    A new token stands behind those before it, and every line that was there stays as it was, comments in their places.
    """
    added = add_token(FILE, TOKEN)
    table = '\n[[tokens]]\nname = "new"\nid = "three"\nexpires = 2027-01-01\nnetworks = ["192.0.2.0/24"]\n'
    assert added == FILE.replace('id = "two"\n', f'id = "two"\n{table}')
    assert remove_token(added, "three") == FILE


@pytest.mark.parametrize(
    "text", ["", "smtp = true", "smtp = true\n[routes.outgoing]\nkind = 'broadcast'\n# last\n", "tokens = []\n"]
)
def test_first_token(text: str) -> None:
    """
    A file without a token gets its first.
    """
    assert [TOKEN] == tomllib.loads(add_token(text, TOKEN))["tokens"]


def test_inline_tokens() -> None:
    """
    Tokens written as a list stay one.
    """
    text = "tokens = [\n    {name = 'a', id = 'one'},  # the first\n]\nsmtp = true\n"
    added = add_token(text, TOKEN)
    assert ["one", "three"] == [one["id"] for one in tomllib.loads(added)["tokens"]]
    assert "# the first" in added
    assert ["one"] == [one["id"] for one in tomllib.loads(remove_token(added, "three"))["tokens"]]


def test_removed_token_takes_its_lines_alone() -> None:
    """
    The lines of the removed token go; comments around it, and the other tokens, stay.
    """
    gone = '\n[[tokens]]\nname = "newsletter"\nid = "two"\n'
    assert remove_token(FILE, "two") == FILE.replace(gone[1:], "")
    kept = remove_token(FILE, "one")
    assert "# The newsletter's; [[tokens]] in a comment." in kept
    assert ["two"] == [one["id"] for one in tomllib.loads(kept)["tokens"]]


def test_scattered_tokens() -> None:
    """
    Tokens between other tables are found, and the order of tables stays.
    """
    text = "[[tokens]]\nid = 'one'\n[routes.x]\nkind = 'broadcast'\n[[tokens]]\nid = 'two'\n"
    assert remove_token(text, "one") == "[routes.x]\nkind = 'broadcast'\n[[tokens]]\nid = 'two'\n"
    assert add_token(text, {"id": "three"}) == text + '\n[[tokens]]\nid = "three"\n'


def test_a_string_that_looks_like_a_table() -> None:
    """
    A header within a string is no table.
    """
    text = "note = '''\n[[tokens]]\nid = \"no\"\n'''\n[[tokens]]\nid = 'one'\n"
    for edited in (add_token(text, {"id": "two"}), remove_token(text, "one")):
        assert tomllib.loads(edited)["note"] == tomllib.loads(text)["note"]


@given(st.lists(st.sampled_from(FILE.splitlines(keepends=True)), max_size=30))
def test_any_text(lines: list[str]) -> None:
    """
    Whatever the file looks like, an edit gives what was there and the one change, or says that it cannot.
    """
    text = "".join(lines)
    try:
        before = tomllib.loads(text)
        after = add_token(text, TOKEN)
    except ValueError:
        return
    assert {**before, "tokens": [*before.get("tokens", []), TOKEN]} == tomllib.loads(after)


ROUTE = {"kind": "broadcast", "unsubscribe_url": "https://a.example/{token}", "max_messages_per_day": 5}
ROUTE_TABLE = """
[routes.news]
kind = "broadcast"
unsubscribe_url = "https://a.example/{token}"
max_messages_per_day = 5
"""


def test_route_is_added_behind_the_others() -> None:
    """
    A new route stands behind those before it, wherever they are, and every line that was there stays as it was.
    """
    assert FILE + ROUTE_TABLE == add_route(FILE, "news", ROUTE)
    middle = '[routes.outgoing]  # always there\nkind = "transactional"\n'
    rest = '\n# The website.\n[[tokens]]\nname = "x"\n\n# [routes.gone]\n'
    assert middle + ROUTE_TABLE + rest == add_route(middle + rest, "news", ROUTE)


def test_settings_commented_out_stay_their_tables() -> None:
    """
    Settings that are commented out below a table are still below it, also at the end; what leads to the next is not.
    """
    own = "[routes.outgoing]\nkind = 'transactional'\n# dsn = false\n  # tls = 'none'\n"
    assert own + ROUTE_TABLE == add_route(own, "news", ROUTE)
    assert own + ROUTE_TABLE + "\n# More.\n" == add_route(own + "\n# More.\n", "news", ROUTE)
    leading = "[routes.outgoing]\nkind = 'transactional'\n"
    rest = "# The website.\n[[tokens]]\nname = 'x'\n"
    assert leading + ROUTE_TABLE + rest == add_route(leading + rest, "news", ROUTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smtp = true",
        "smtp = true\n\n[[tokens]]\nname = 'x'\n# last\n",
        "note = '''\n[routes.no]\n'''\n",
        "# [routes.outgoing]\n",
        "domains = []\r\n",
    ],
)
def test_first_route(text: str) -> None:
    """
    A file without a route in it gets its first, and all that it had stays.
    """
    added = add_route(text, "news", ROUTE)
    assert added.startswith(text)
    assert {**tomllib.loads(text), "routes": {"news": ROUTE}} == tomllib.loads(added)


@pytest.mark.parametrize(
    "text",
    [
        "routes = {outgoing = {kind = 'broadcast'}}  # short\nsmtp = true\n",
        "routes = {}\n",
        "[routes]\n",
        "[routes]\noutgoing = {kind = 'broadcast'}  # short\n[[tokens]]\nname = 'x'\n",
        "[routes]\noutgoing.kind = 'broadcast'  # short\n",
        "routes.outgoing.kind = 'broadcast'  # short\nsmtp = true\n",
        "['routes'.\"outgoing\"]  # short\nkind = 'broadcast'\n[[tokens]]\n",
        " [ routes . outgoing ]\nkind = 'broadcast' # short\n",
        "[routes.outgoing]\nkind = '''\n[routes.no]\n'''\n",
    ],
)
def test_routes_written_otherwise(text: str) -> None:
    """
    However routes are written, one more is added and the rest is left as it is, comments too.
    """
    before = tomllib.loads(text)
    added = add_route(text, "news", ROUTE)
    assert {**before, "routes": {**before["routes"], "news": ROUTE}} == tomllib.loads(added)
    assert ("# short" in text) == ("# short" in added)


LINES = [*FILE.splitlines(keepends=True), "[routes.x]\n", "routes = {}\n", "[routes]\n", "routes.y.dsn = true\n"]


@given(st.lists(st.sampled_from(LINES), max_size=30))
def test_any_text_with_a_route(lines: list[str]) -> None:
    """
    Whatever the file looks like, it has the route more and nothing else changed, or the edit says that it cannot.
    """
    text = "".join(lines)
    try:
        before = tomllib.loads(text)
        after = add_route(text, "news", ROUTE)
    except ValueError:
        return
    assert {**before, "routes": {**before.get("routes", {}), "news": ROUTE}} == tomllib.loads(after)
