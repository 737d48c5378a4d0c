"""What each command imports: starting one takes the time of its imports.

Names are compared, never seconds. Each group is imported in a process of its own, forked from one
that has imported what all of them need.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import rich_click as click

from gateway.cli.lazy import Later
from gateway.cli.main import gateway

HEAVY = (
    "aiohttp", "alembic", "cryptography", "email_validator", "gateway.app.core",
    "gateway.app.process", "gateway.app.services", "gateway.data_plane.routing.router", "httpx",
    "jinja2", "jwt", "litestar", "numpy", "prometheus_client", "pygments", "redis", "rich",
    "sqlalchemy", "stripe", "tokenizers", "uvicorn", "webauthn",
)  # fmt: skip
"""What takes 10 ms or more, and the application itself."""

_EACH = """
import json, os, sys
import gateway.cli.main
import sqlalchemy.ext.asyncio, gateway.storage.tables
from importlib import import_module
found = {}
for module in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if not os.fork():
        import_module(f"gateway.cli.{module}")
        os.write(write, json.dumps([name for name in HEAVY if name in sys.modules]).encode())
        os._exit(0)
    os.wait()
    found[module] = json.loads(os.read(read, 65536))
print(json.dumps(found))
"""
_SQL = ["sqlalchemy"]
_MAIL = ["jinja2", "sqlalchemy"]
IMPORTED = {
    "accounts": ["cryptography", "email_validator", *_MAIL],
    "approvals": ["jinja2", "prometheus_client", "sqlalchemy"],
    "attention": ["email_validator", "jinja2", "prometheus_client", "sqlalchemy"],
    "billing": _MAIL,
    "books": ["prometheus_client", "sqlalchemy"],
    "catalog": _SQL,
    "check": _SQL,
    "demand": ["email_validator", *_MAIL],
    "dev": _SQL,
    "events": _SQL,
    "incidents": _SQL,
    "launches": ["email_validator", *_MAIL],
    "mail": _MAIL,
    "market": ["email_validator", *_SQL],
    "migrate": _SQL,
    "model_edits": _SQL,
    "model_review": _SQL,
    "operators": ["cryptography", "email_validator", *_SQL],
    "payment_care": ["jinja2", "prometheus_client", "sqlalchemy"],
    "payments": ["prometheus_client", "sqlalchemy"],
    "receipts": ["cryptography", "httpx", "pygments", "rich", "sqlalchemy"],
    "relocation": ["cryptography", *_SQL],
    "secrets": ["cryptography", *_SQL],
    "service": _SQL,
    "settings": _SQL,
    "trail": ["email_validator", *_SQL],
    "transfers": ["cryptography", *_SQL],
    "workers": ["cryptography", *_SQL],
}


def _later(group: click.Group) -> Iterator[Later]:
    for listed in group.commands.values():
        command = listed
        if isinstance(listed, Later):
            yield listed
            command = listed.load()
        if isinstance(command, click.Group):
            yield from _later(command)


def test_each_command_is_listed_with_its_own_sentence():
    for listed in _later(gateway):
        command = listed.load()
        assert (command.name, command.get_short_help_str(200)) == (listed.name, listed.help)


def test_no_command_imports_the_application_but_the_two_that_run_it():
    modules = sorted({listed._module for listed in _later(gateway)})
    program = f"HEAVY = {HEAVY!r}\n{_EACH}"
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(modules)],
        env=os.environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == IMPORTED


def test_what_only_lists_commands_or_settings_imports_no_database():
    for words in ("--version", "--help", "settings", "run --help", "dev --help"):
        program = (
            "import sys; from gateway.__main__ import main\n"
            f"sys.argv = ['gateway', *{words.split()!r}]\n"
            "try: main()\nexcept SystemExit: pass\n"
            f"print([name for name in {HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        rich = ["rich"] if "help" in words else []
        assert done.stdout.splitlines()[-1] == str(rich), words
