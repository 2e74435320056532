"""
The examples of the clients' guide, run as they stand in the document against a live relay.

Each runs in a folder of its own with the settings of the guide in its environment, and verifies the relay's
certificate, whose authority it is told of in the way that its platform has for that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from attrs import evolve

from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply
from tests.e2e.daemon import ROOT, Relay
from tests.e2e.desk import CUSTOMER, TO, Desk, need
from tests.e2e.guide import Example, read_examples
from tests.e2e.receiver import Receiver
from tests.e2e.story import await_states, stored
from tests.e2e.world import World

GUIDE = ROOT / "docs" / "clients.md"
PHP_SHARE = Path("/usr/share/php")
PHPMAILER = PHP_SHARE / "libphp-phpmailer" / "autoload.php"
SYMFONY = PHP_SHARE / "Symfony" / "Component" / "Mailer" / "autoload.php"
WORDPRESS = Path(os.environ.get("LMRELAY_WORDPRESS", "/usr/share/wordpress"))

RUN = {
    "route.sh", "environment.sh", "swaks.sh", "receipt.py", "settings.py", "django_receipt.py", "receipt.js",
    "receipt.php", "symfony.env", "symfony_receipt.php", "production.rb", "receipt_mailer.rb", "receipt.go",
    "wp-config.php", "smtp.php", "wp_receipt.php",
}  # fmt: skip

READ = {"laravel.env", "laravel_receipt.php"}
"""
Debian has no Laravel of a version that sends through Symfony Mailer. The headers that its mailables make of tags
and metadata are Symfony's, and those are run.
"""


@pytest.fixture(scope="module")
def examples() -> Mapping[str, Example]:
    """
    The guide's examples by name.
    """
    return read_examples(GUIDE)


@pytest.fixture(scope="module")
def home(world: World, examples: Mapping[str, Example]) -> Iterator[tuple[Relay, Receiver]]:
    """
    A relay with the guide's route, added by the guide's command, and the MX of the guide's recipient.
    """
    mx = world.receiver()
    world.names.mx("b.example", 10, "mx.b.example")
    world.names.host("mx.b.example", mx.address)
    relay = world.relay()
    added, reloaded = examples["route.sh"].text.splitlines()
    program, *arguments = added.split()
    assert (program, reloaded) == ("lmrelay", "systemctl reload lmrelay")
    relay.ask(*arguments)
    relay.start()
    yield relay, mx
    assert relay.stop() == 0


@pytest.fixture
def desk(home: tuple[Relay, Receiver], examples: Mapping[str, Example], tmp_path: Path) -> Iterator[Desk]:
    """
    A place for one example; pytest shows what the relay logged where it fails.
    """
    relay, mx = home
    start = len(relay.log())
    yield Desk(relay, mx, tmp_path, examples)
    print(relay.log()[start:])  # captured, and shown only on failure


def test_every_example_is_tested(examples: Mapping[str, Example]) -> None:
    """
    An example that is added, lost or renamed does not go unseen.
    """
    assert RUN | READ == set(examples)


def test_the_variables_are_those_of_the_operators_command(examples: Mapping[str, Example], desk: Desk) -> None:
    """
    What the guide exports is what C{lmrelay token create} prints.
    """
    exported = re.findall(r"export (\w+)=", examples["environment.sh"].text)
    made = desk.relay.ask("token", "create", "acme", "--name", "guide")
    assert [name for name in made["settings"] if name != "SMTP_SECURITY"] == exported


def test_every_reply_in_the_guide_is_said() -> None:
    """
    Codes, and the texts where the guide has them, are those of the table of replies.
    """
    page = GUIDE.read_text("utf-8").partition("## Replies, and what to do")[2]
    told = re.findall(r"`(\d{3}) (\d\.\d\.\d{1,2})(?: ([^`]+))?`", page)
    assert len(told) >= 15
    table = [str(one) for one in (*vars(replies).values(), *made_replies()) if isinstance(one, Reply)]
    for code, enhanced, text in told:
        beginning = f"{code} {enhanced} {text.removesuffix('…')}"
        assert [one for one in table if one.startswith(beginning)], beginning


def made_replies() -> Iterator[Reply]:
    """
    Those that are made of what they tell of, as the guide has them.
    """
    yield replies.smtp_not_enabled("acme")
    yield replies.sender_not_allowed("D", "acme")
    yield replies.bad_sender("x")
    yield replies.bad_recipient("x")
    yield replies.key_reused("x")
    yield replies.over_quota(1, "hour", "project acme", "2026-11-20T20:31:00Z")


def test_swaks(desk: Desk) -> None:
    """
    swaks sends the octets of its command line: metadata in raw UTF-8 is understood.
    """
    need("swaks")
    said = desk.verify(need("sh"), str(desk.place("swaks.sh")), authority="SSL_CERT_FILE")
    assert "250 2.0.0 OK id=" in said
    desk.check(10041)


def test_python(desk: Desk) -> None:
    """
    smtplib sends; the same again, as from a program that saw no answer, is not sent twice.
    """
    command = [sys.executable, str(desk.place("receipt.py"))]
    desk.verify(*command, authority="SSL_CERT_FILE")
    desk.verify(*command, authority="SSL_CERT_FILE")
    desk.check(10042)


def django(desk: Desk, script: str) -> None:
    """
    Type a script into Django's shell.
    """
    if find_spec("django") is None:
        pytest.skip("Django is not installed (PyPI: Django)")
    desk.place("settings.py")
    shell = [sys.executable, "-m", "django", "shell", "--settings", "settings", "--pythonpath", "."]
    desk.verify(*shell, stdin=script, authority="SSL_CERT_FILE", PYTHONUTF8="1")


def test_django(desk: Desk) -> None:
    """
    Django sends with the guide's settings.
    """
    django(desk, desk.place("django_receipt.py").read_text("utf-8"))
    desk.check(10043)


def test_nodemailer(desk: Desk, nodemailer: Path) -> None:
    """
    nodemailer sends, and the keys of metadata stay as they are written.
    """
    command = [need("node", "nodejs"), str(desk.place("receipt.js"))]
    said = desk.verify(*command, authority="NODE_EXTRA_CA_CERTS", NODE_PATH=str(nodemailer))
    assert said.startswith("250 2.0.0 OK id=")
    desk.check(10044)


def test_nodemailer_writes_names_its_own_way(desk: Desk, nodemailer: Path) -> None:
    """
    Without the guide's option nodemailer capitalizes names (X-Lm-Tag): understood all the same, but keys change.
    """
    script = desk.place("receipt.js")
    text, changes = re.subn(r"\n *normalizeHeaderKey: .*", "", script.read_text("utf-8"))
    assert changes == 1
    script.write_text(text.replace("10044", "20044"), "utf-8")
    desk.verify(need("node", "nodejs"), str(script), authority="NODE_EXTRA_CA_CERTS", NODE_PATH=str(nodemailer))
    desk.check(20044, {"Order_id": "20044", "Customer": CUSTOMER})


def test_phpmailer(desk: Desk) -> None:
    """
    PHPMailer sends.
    """
    desk.autoload(PHPMAILER, "libphp-phpmailer")
    desk.php(desk.place("receipt.php"))
    desk.check(10045)


def test_phpmailer_takes_cram_md5_and_nothing_else(world: World, desk: Desk) -> None:
    """
    With a token that has no sealed copy PHPMailer fails where CRAM-MD5 is offered by force, though LOGIN would do;
    as the relay is by default it is not offered then, and PHPMailer sends.
    """
    need("php", "php-cli")
    desk.autoload(PHPMAILER, "libphp-phpmailer")
    relay = world.relay(auth={"cram_md5": "on"})
    relay.ask("route", "add", "acme", "receipts")
    relay.ask("token", "revoke", "acme", relay.token_id)
    relay.token = relay.ask("token", "create", "acme", "--name", "plain", "--no-cram")["token"]
    other = evolve(desk, relay=relay.start())
    script = [need("php"), "-d", f"openssl.cafile={relay.folder}/relay.crt", str(desk.place("receipt.php"))]
    code, said = other.attempt(*script)
    assert (code, "Could not authenticate" in said) == (255, True)
    relay.settings["auth"]["cram_md5"] = "auto"
    relay.write()
    assert relay.reload()
    other.run(*script)
    await_states(relay, *stored(relay, "Receipt for order 10045"), {TO: "delivered"})
    assert relay.stop() == 0


def test_symfony(desk: Desk) -> None:
    """
    Symfony's own headers of tags and metadata are understood; the session is TLS from the first octet.
    """
    desk.autoload(SYMFONY, "php-symfony-mailer")
    desk.php(desk.place("symfony_receipt.php"), MAILER_DSN=desk.dsn())
    desk.check(10046)


def test_laravel(desk: Desk) -> None:
    """
    The mailable is PHP, and its headers are within what the relay takes. (It is not run.)
    """
    need("php", "php-cli")
    desk.run(need("php"), "-l", str(desk.place("laravel_receipt.php")))
    lines = desk.examples["laravel.env"].text.splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert ("smtp", "smtps", "465", "lettermint") == tuple(
        variables[f"MAIL_{name}"] for name in ("MAILER", "SCHEME", "PORT", "USERNAME")
    )


RAILS = """
require "rails"
require "action_mailer/railtie"
class Guide < Rails::Application
  config.root = __dir__
  config.eager_load = false
  config.logger = Logger.new($stdout)
end
Rails.application.initialize!
require "./app/mailers/receipt_mailer"
ReceiptMailer.receipt(ARGV[0], "Zoë Müller").deliver_now
"""


def rails(desk: Desk, order: str) -> None:
    """
    An application of Rails that has the guide's environment and a mailer, and nothing else, sends a receipt.
    """
    ruby = need("ruby", "ruby-railties ruby-actionmailer")
    probe = subprocess.run([ruby, "-e", "require 'rails'; require 'action_mailer'"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("Rails is not installed (Debian: ruby-railties ruby-actionmailer)")
    desk.place("production.rb", "config/environments/production.rb")
    (desk.folder / "send.rb").write_text(RAILS, "utf-8")
    more = {"RAILS_ENV": "production", "LANG": "C.UTF-8", "SECRET_KEY_BASE": "x" * 64}
    desk.verify(ruby, "send.rb", order, authority="SSL_CERT_FILE", **more)


def test_rails(desk: Desk) -> None:
    """
    ActionMailer sends with the guide's environment and mailer.
    """
    desk.place("receipt_mailer.rb", "app/mailers/receipt_mailer.rb")
    rails(desk, "10048")
    desk.check(10048, {"order-id": "10048", "customer": CUSTOMER})


def test_rails_writes_hyphens(desk: Desk) -> None:
    """
    An underscore in a key of metadata arrives as a hyphen, as the guide warns.
    """
    file = desk.place("receipt_mailer.rb", "app/mailers/receipt_mailer.rb")
    file.write_text(file.read_text("utf-8").replace("Metadata-order-id", "Metadata-order_id"), "utf-8")
    rails(desk, "20048")
    desk.check(20048, {"order-id": "20048", "customer": CUSTOMER})


def test_go(desk: Desk) -> None:
    """
    net/smtp takes STARTTLS, and sends.
    """
    go = need("go", "golang-go")
    desk.place("receipt.go")
    desk.verify(go, "run", "receipt.go", authority="SSL_CERT_FILE", GO111MODULE="off", GOFLAGS="")
    desk.check(10049)


WORDPRESS_BOOT = """<?php
define( 'ABSPATH', $argv[1] . '/' );
define( 'WPINC', 'wp-includes' );
require 'wp-config.php';
foreach ( array( 'plugin', 'load', 'formatting', 'functions', 'http', 'class-wp-error', 'pluggable' ) as $part ) {
	require_once ABSPATH . WPINC . "/$part.php";
}
function get_bloginfo() { return 'UTF-8'; }
function network_home_url() { return 'https://blog.acme.example/'; }
function __( $text ) { return $text; }
add_action( 'wp_mail_failed', function ( $error ) {
	fwrite( STDERR, $error->get_error_message() . PHP_EOL );
	exit( 1 );
} );
require 'wp-content/mu-plugins/smtp.php';
require 'wp_receipt.php';
"""
"""
WordPress without its database: the real hooks, C{wp_mail} and PHPMailer; only what asks the database for the
site's name and character set, and the translation, are doubles.
"""


def test_wordpress(desk: Desk) -> None:
    """
    What wp_mail sends goes through the relay with the guide's constants and plug-in.
    """
    need("php", "php-cli")
    if not (WORDPRESS / "wp-includes" / "pluggable.php").exists():
        pytest.skip(f"{WORDPRESS} has no WordPress (Debian: wordpress; or unpack one and set LMRELAY_WORDPRESS)")
    desk.place("wp-config.php")
    desk.place("smtp.php", "wp-content/mu-plugins/smtp.php")
    desk.place("wp_receipt.php")
    boot = desk.folder / "boot.php"
    boot.write_text(WORDPRESS_BOOT)
    command = [need("php"), "-d", "openssl.cafile=AUTHORITY", str(boot), str(WORDPRESS)]
    desk.verify(*command, authority="AUTHORITY")
    taken = desk.check(10050)
    assert ["Acme <app@acme.example>"] == taken.head("From")


LONG = " ".join(["Zoë Müller-Lüdenscheidt"] * 20)
"""
Longer than any client lets a line be: each parts it into encoded words and folded lines in its own way.
"""


@pytest.mark.parametrize("client", ["python", "django", "nodemailer", "phpmailer", "symfony"])
def test_long_values_come_whole(desk: Desk, request: pytest.FixtureRequest, client: str) -> None:
    """
    A long value of metadata beyond ASCII is what the application wrote, however its client wrote it.
    """
    order = 30000 + len(client)
    file = desk.place({"python": "receipt.py", "django": "django_receipt.py", "nodemailer": "receipt.js",
                       "phpmailer": "receipt.php", "symfony": "symfony_receipt.php"}[client])  # fmt: skip
    text = re.sub(r"100\d\d", str(order), file.read_text("utf-8")).replace(CUSTOMER, LONG)
    file.write_text(text, "utf-8")
    if client == "python":
        desk.verify(sys.executable, str(file), authority="SSL_CERT_FILE")
    elif client == "django":
        django(desk, text)
    elif client == "nodemailer":
        modules = str(request.getfixturevalue("nodemailer"))
        desk.verify(need("node", "nodejs"), str(file), authority="NODE_EXTRA_CA_CERTS", NODE_PATH=modules)
    elif client == "phpmailer":
        desk.autoload(PHPMAILER, "libphp-phpmailer")
        desk.php(file)
    else:
        desk.autoload(SYMFONY, "php-symfony-mailer")
        desk.php(file, MAILER_DSN=desk.dsn())
    desk.check(order, {"order_id": str(order), "customer": LONG})


def test_a_second_tag_of_symfony_is_refused(desk: Desk) -> None:
    """
    As the guide says of Laravel, whose tags are Symfony's headers: one tag, and the reply names header and rule.
    """
    desk.autoload(SYMFONY, "php-symfony-mailer")
    file = desk.place("symfony_receipt.php")
    text, changes = re.subn(r"( *->add\(new TagHeader).*", r"\g<0>\n\1('second'))", file.read_text("utf-8"))
    assert changes == 1
    file.write_text(text, "utf-8")
    authority = f"openssl.cafile={desk.relay.folder}/relay.crt"
    code, said = desk.attempt(need("php", "php-cli"), "-d", authority, str(file), MAILER_DSN=desk.dsn())
    assert code == 255
    assert "554 5.6.0 Bad X-Tag header: it may be there only once" in said
