"""The command line: what people see, what programs read, and one clear line for what is wrong."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Executable, insert, update
from sqlalchemy.schema import DropTable

from gateway.__main__ import main
from gateway.control_plane.catalog import cards
from gateway.control_plane.secrets import record
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import accounts, outbox, worker_reports
from testing.gateways import MODEL, SECRET, STELLA
from testing.processes import Process

pytestmark = pytest.mark.sqlite


class Shell:
    """Runs `gateway ...` on a database of its own: in this process, which saves a second each."""

    def __init__(self, url: str, workers: str = "") -> None:
        self.environment = {
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": url,
            "GATEWAY_WORKERS": workers,
            "REDIS_URL": "",
        }

    @classmethod
    def bare(cls) -> "Shell":
        """With nothing configured; the fixture `bare` clears what surrounds the test."""
        made = cls("")
        made.environment = {}
        return made

    def run(self, *words: str, status: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["gateway", *words])
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        if isinstance(code, str):  # the interpreter prints it and exits with 1
            print(code, file=err)
            code = 1
        assert (code or 0) == status, out.getvalue() + err.getvalue()
        return out.getvalue() + (err.getvalue() if status else "")

    def json(self, *words: str) -> dict:
        return json.loads(self.run(*words, "--json"))

    def tamper(self, statement: Executable, rows: list[dict] | None = None) -> None:
        """Change the database behind everybody's back."""

        async def change() -> None:
            database = Database(self.environment["DATABASE_URL"])
            async with database.write() as connection:
                await connection.execute(statement, rows)
            await database.close()

        asyncio.run(change())


@pytest.fixture
def shell(database_url: str, fake_worker: Process) -> Shell:
    return Shell(database_url, f"{MODEL}={fake_worker.url}")


@pytest.mark.postgresql
def test_from_an_organization_to_a_revoked_key(shell: Shell):
    acme = shell.json("organizations", "create", "Acme Inc")
    assert "Acme Inc" in shell.run("organizations", "list")
    granted = shell.run("credits", "grant", "Acme Inc", "0.25", "--ref", "welcome")
    assert "Granted $0.25. Acme Inc has $0.25." in granted
    assert "$0.25" in shell.run("organizations", "list")
    (listed,) = shell.json("organizations", "list")
    assert listed["available_nanos"] == 250_000_000
    assert "nothing changed" in shell.run(
        "credits", "grant", acme["id"], "0.25", "--ref", "welcome"
    )
    balance = shell.json("credits", "balance", acme["id"])
    assert balance["available_nanos"] == 250_000_000
    assert "$0.25 available" in shell.run("credits", "balance", "Acme Inc")
    (entry,) = shell.json("credits", "ledger", "Acme Inc")
    assert (entry["kind"], entry["amount_nanos"]) == ("grant", 250_000_000)

    made = shell.json("keys", "create", "Acme Inc", "--name", "laptop", "--expires-days", "30")
    assert made["secret"].startswith("sk-")
    assert made["secret"][-4:] == made["last_four"]
    assert shell.json("keys", "list")[0]["budget"] is None
    shell.run("keys", "budget", made["id"], "2.5", "--period", "total")
    listed = shell.run("keys", "list", "Acme Inc")
    assert "$0.00 of $2.50 in total" in listed
    assert shell.json("keys", "list")[0]["budget"]["limit_nanos"] == 2_500_000_000
    assert made["last_four"] in listed
    assert made["secret"] not in listed
    assert "Revoked" in shell.run("keys", "revoke", made["id"])
    (key,) = shell.json("keys", "list")
    assert key["revoked_at"]
    assert "ok" in shell.run("audit")
    assert shell.json("audit") == []


@pytest.mark.parametrize("change", [["Acme", "7"], ["Other", "5"], ["Acme", "5", "--kind", "paid"]])
def test_a_reference_stands_for_one_grant_alone(shell: Shell, change: list[str]):
    for name in ("Acme", "Other"):
        shell.run("organizations", "create", name)
    shell.run("credits", "grant", "Acme", "5", "--ref", "inv-1")
    said = shell.run("credits", "grant", *change, "--ref", "inv-1", status=1)
    assert said.startswith("gateway: 'inv-1' already granted $5.00 (promo) to Acme")
    assert said.count("\n") == 1
    balances = {one["name"]: one["available_nanos"] for one in shell.json("organizations", "list")}
    assert balances == {"Acme": 5 * 10**9, "Other": 0}


@pytest.mark.postgresql
def test_credit_is_taken_back_from_its_lot(shell: Shell):
    shell.run("organizations", "create", "Acme")
    shell.run("credits", "grant", "Acme", "5", "--kind", "paid")
    (lot,) = shell.json("credits", "balance", "Acme")["grants"]
    take = ("credits", "take", "Acme", lot["id"])
    assert "$5.00 is left" in shell.run(*take, "6", "--reason", "a mistake", status=1)
    assert "Took $2.00. Acme has $3.00" in shell.run(*take, "2", "--reason", "a mistake")
    entry = shell.json("credits", "ledger", "Acme")[0]
    assert (entry["kind"], entry["amount_nanos"]) == ("takeback", -2 * 10**9)
    assert entry["ref"].startswith(f"{lot['id']}:ref:")
    assert entry["reason"] == "a mistake"
    once = (*take, "1", "--reason", "a mistake", "--ref", "case 7")
    assert "Took $1.00. Acme has $2.00" in shell.run(*once)
    assert "Already taken, so nothing changed. Acme has $2.00" in shell.run(*once)
    assert "took $1.00 of the grant before" in shell.run(
        *take, "2", "--reason", "a mistake", "--ref", "case 7", status=1
    )
    assert "no grant" in shell.run(*take[:3], "nonsense", "2", "--reason", "a mistake", status=1)
    assert shell.json("audit") == []


def test_an_organization_is_suspended_and_not_any_more(shell: Shell):
    shell.run("organizations", "create", "Acme")
    assert shell.json("credits", "balance", "Acme")["frozen"] is False
    assert "Acme is suspended." in shell.run("credits", "freeze", "Acme", "--reason", "spam")
    assert "already" in shell.run("credits", "freeze", "Acme", "--reason", "spam")
    balance = shell.json("credits", "balance", "Acme")
    assert (balance["frozen_by"], balance["owed_nanos"]) == (["operator"], 0)
    said = shell.run("credits", "balance", "Acme")
    assert "suspended by an operator" in said
    assert "spam" in said
    assert "no longer suspended" in shell.run("credits", "unfreeze", "Acme", "--reason", "paid")
    assert "was not suspended" in shell.run("credits", "unfreeze", "Acme", "--reason", "paid")
    assert shell.json("credits", "balance", "Acme")["frozen"] is False


def test_models_workers_and_estimates(shell: Shell):
    assert STELLA in shell.run("models", "list")
    listed = {model["id"] for model in shell.json("models", "list")}
    assert listed == {model.id for model in cards.reviewed()}
    assert "3 tokens, $0.000000024" in shell.run("estimate", STELLA, "hi")
    estimate = shell.json("estimate", STELLA, "hi", "--prompt-name", "s2p_query")
    assert estimate == {"tokens": 22, "cost_nanos": "176", "inputs": [22]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["keys", "create", "nobody"], "There is no organization 'nobody'."),
        (["keys", "revoke", "01a206dc-dbdd-7544-9d13-ce150f25679d"], "There is no key"),
        (["keys", "budget", "zzz", "5"], "There is no key 'zzz'."),
        (["keys", "budget", "zzz", "0"], "To stop a key, revoke it"),
        (["keys", "revoke", "zzz"], "There is no key 'zzz'."),
        (["keys", "list", "zzz"], "There is no organization 'zzz'."),
        (["credits", "grant", "nobody", "1"], "There is no organization"),
        (["credits", "grant", "nobody", "9007199.254740992"], "the maximum is $9,007,199"),
        (["credits", "balance", "zzz"], "There is no organization 'zzz'."),
        (["credits", "ledger", "zzz"], "There is no organization 'zzz'."),
        (["mail", "retry", "zzz"], "There is no email 'zzz'"),
        (["models", "price", "zzz", "1"], "There is no model 'zzz'"),
        (["models", "demand", "zzz"], "There is no model 'zzz'"),
        (["models", "launch", "zzz"], "no model 'zzz'"),
        (["workers", "pin", MODEL, "zzz"], "'zzz' is not a worker's address"),
        (["workers", "pin", "zzz", "http://127.0.0.1:1"], "There is no model 'zzz'"),
        (["workers", "check", "zzz"], "No running gateway knows a worker zzz"),
        (["credits", "grant", "nobody", "1,5"], "is not an amount"),
        (["credits", "grant", "nobody", "0.0000000001"], "up to nine decimals"),
        (["organizations", "create", " "], "A name must have 1 to 200"),
        (["estimate", "none", "hi"], "There is no model 'none'"),
    ],
)
def test_what_is_wrong_is_one_line(shell: Shell, words: list[str], message: str):
    said = shell.run(*words, status=1)
    assert message in said
    assert said.startswith("gateway: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        (["credits", "ledger", "Acme", "--before", "9" * 30], "9223372036854775807"),
        (["credits", "grant", "Acme", "1", "--expires-days", "36501"], "36500"),
        (["keys", "create", "Acme", "--expires-days", "9" * 30], "36500"),
    ],
)
def test_numbers_have_bounds(shell: Shell, words: list[str], bound: str):
    assert f"<={bound}" in shell.run(*words, status=2)


@pytest.mark.postgresql
def test_what_the_database_says_comes_without_its_statements(shell: Shell):
    shell.tamper(DropTable(worker_reports))
    said = shell.run("workers", "drain", "http://x", status=1)
    assert said.count("\n") == 1
    assert "SQL" not in said


def test_a_price_is_an_operators(shell: Shell):
    assert "costs $0.009 / 1M tokens." in shell.run("models", "price", MODEL, "0.009")
    shell.run("models", "price", MODEL, "0.003", "--flex")
    shell.run("migrate")
    assert "$0.009 / 1M tokens (flex $0.003)" in shell.run("models", "list")
    assert "no model" in shell.run("models", "price", "none", "1", status=1)


@pytest.mark.postgresql
def test_mails_that_failed_are_tried_again(shell: Shell):
    assert shell.json("mail", "list") == []
    assert "No mails." in shell.run("mail", "list")
    ids = [f"01a206dc-dbdd-7544-9d13-ce150f25679{n}" for n in range(4)]
    rows = [
        ("launch", "failed", "t", "550"), ("launch", "unknown", "t", ""),
        ("sign_in", "failed", "", ""), ("launch", "failed", "t", "unsubscribed before it left"),
    ]  # fmt: skip
    now = datetime(2026, 1, 1, tzinfo=UTC)
    same = {
        "recipient": "ada@example.org", "subject": "s", "html": "", "attempts": 9,
        "unsubscribe_url": "", "created_at": now, "due_at": now,
    }  # fmt: skip
    shell.tamper(
        insert(outbox),
        [
            {"id": mail_id, "ref": mail_id, "kind": kind, "state": state, "text": text,
             "reason": reason, **same}
            for mail_id, (kind, state, text, reason) in zip(ids, rows, strict=True)
        ],
    )  # fmt: skip
    assert "550" in shell.run("mail", "list", "--state", "failed")
    assert len(shell.json("mail", "list", "--limit", "3")) == 3
    assert all("text" not in mail for mail in shell.json("mail", "list"))
    for words, message in (
        (["nonsense"], "no email 'nonsense'"),
        ([ids[0].replace("9d", "9e")], "no email"),
        ([ids[1]], "may have arrived"),
        ([ids[2]], "ask for a new one"),
        ([ids[3]], "unsubscribed"),
    ):
        assert message in shell.run("mail", "retry", *words, status=1)
    assert shell.json("mail", "retry") == {"retried": 1}
    (pending,) = shell.json("mail", "list", "--state", "pending")
    assert (pending["id"], pending["attempts"]) == (ids[0], 0)
    assert pending["give_up_at"] > pending["due_at"]
    assert "is pending" in shell.run("mail", "retry", ids[0], status=1)
    assert "1 will be retried" in shell.run("mail", "retry", ids[1], "--even-unknown")
    assert "no failed email" in shell.run("mail", "retry")


@pytest.mark.postgresql
def test_two_of_one_name_are_told_apart_by_their_ids(shell: Shell):
    first = shell.json("organizations", "create", "twin")
    said = shell.run("organizations", "create", " twin", status=1)
    assert f"There is already an organization 'twin' ({first['id']})" in said
    shell.run("organizations", "create", "twin", "--same-name")
    assert "More than one" in shell.run("credits", "balance", "twin", status=1)
    shell.run("credits", "balance", first["id"])


@pytest.mark.postgresql
def test_audit_exits_1_and_names_what_is_broken(shell: Shell):
    acme = shell.json("organizations", "create", "Acme")
    shell.run("credits", "grant", "Acme", "1")
    shell.tamper(update(accounts).values(available_nanos=accounts.c.available_nanos + 1))
    said = shell.run("audit", status=1)
    assert f"balance-equals-ledger: BROKEN by {acme['id']}" in said
    assert "never-negative: ok" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"GATEWAY_SECRET": ""}, "GATEWAY_SECRET is not set"),
        (
            {"GATEWAY_SECRET": "short"},
            "GATEWAY_SECRET is too short: a secret has at least 32 characters",
        ),
        ({"GATEWAY_INPUTS_MAX": "many"}, "GATEWAY_INPUTS_MAX"),
        ({"GATEWAY_WORKERS": "nonsense"}, "GATEWAY_WORKERS: 'nonsense' is not MODEL=URL"),
        ({"GATEWAY_WORKERS": "m=ftp://x"}, "not a worker's address"),
        ({"DATABASE_URL": "mysql://x/y"}, "use postgresql"),
        (
            {"GATEWAY_DEV_MAIL": "true", "GATEWAY_PUBLIC_URL": "https://gateway.example"},
            "GATEWAY_DEV_MAIL shows sign-in links to everyone",
        ),
        ({"GATEWAY_LEASE_SECONDS": "5"}, "GATEWAY_LEASE_SECONDS must be"),
        ({"DATABASE_URL": "sqlite:////proc/none/gateway.db"}, "gateway: "),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/n"}, "connect call failed"),
    ],
)
def test_bad_settings_are_one_line_without_secrets(shell: Shell, change: dict, message: str):
    shell.environment |= change
    words = ["run"] if "GATEWAY_WORKERS" in change else ["models", "list"]
    said = shell.run(*words, status=1)
    assert message.lower() in said.lower()
    assert "hunter2" not in said


def test_a_secret_is_rotated_and_a_wrong_one_is_one_line(shell: Shell):
    async def start(keyring: Keyring) -> None:
        database = Database(shell.environment["DATABASE_URL"])
        await record.register(database, keyring)
        await database.close()

    new, old = shell.run("secrets", "generate").strip(), SECRET
    shell.run("organizations", "create", "Acme Inc")
    shell.run("keys", "create", "Acme Inc")
    asyncio.run(start(Keyring(old)))
    shell.environment["GATEWAY_SECRET"] = new
    for words in (["run"], ["run", "--processes", "2"], ["keys", "create", "Acme Inc"]):
        said = shell.run(*words, status=1)
        assert "is not the secret that this database was used with" in said
        assert said.count("\n") == 1
        assert new not in said

    asyncio.run(start(Keyring(old, new)))
    shell.environment["GATEWAY_SECRET"] = f"{old}\n{new}"
    first, second = shell.json("secrets", "status")
    assert (first["place"], first["is_next"], first["can_be_dropped"]) == ("first", False, False)
    assert (second["place"], second["is_next"], second["can_be_dropped"]) == ("second", True, False)

    asyncio.run(start(Keyring(new, old)))
    shell.environment["GATEWAY_SECRET"] = f"{new}\n{old}"
    first, second = shell.json("secrets", "status")
    assert (first["place"], first["api_keys"], first["can_be_dropped"]) == ("first", 0, False)
    assert (second["place"], second["api_keys"], second["can_be_dropped"]) == ("second", 1, False)
    (key,) = shell.json("secrets", "keys", second["fingerprint"])
    assert key == shell.json("keys", "list")[0]["id"]
    assert shell.run("secrets", "reseal") == "Sealed again: 2.\n"
    said = shell.run("secrets", "retire", first["fingerprint"], "--reason", "x", status=1)
    assert "is the first secret" in said
    said = shell.run("secrets", "retire", second["fingerprint"], "--reason", "it leaked")
    assert "1 API keys" in said
    shell.environment["GATEWAY_SECRET"] = new
    asyncio.run(start(Keyring(new)))
    assert [row["place"] for row in shell.json("secrets", "status")] == ["first", "retired"]
    assert "secret.retired" in shell.run("trail", "list")


def test_an_old_schema_says_what_to_run(tmp_path: Path):
    shell = Shell(f"sqlite:///{tmp_path}/new.db")
    for words in (["models", "list"], ["run"], ["run", "--processes", "2"]):
        said = shell.run(*words, status=1)
        assert "run `gateway migrate`" in said
        assert said.count("\n") == 1
    assert "up to date" in shell.run("migrate")
    assert STELLA in shell.run("models", "list")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_service_says_where_it_listens_and_ends_in_peace(shell: Shell, host: str):
    command = [sys.executable, "-m", "gateway", "run", "--port", "0", "--host", host.strip("[]")]
    at_once = {"GATEWAY_DRAIN_SECONDS": "0"}
    process = Process(command, {**os.environ, **shell.environment, **at_once})
    assert process.url.startswith(f"http://{host}:")
    assert httpx.get(f"{process.url}/health/live").status_code == 200
    assert process.kill(signal.SIGTERM) == 0
    process.close()


def test_the_command_itself():
    """As a process of its own, with nothing configured: one line, no trace."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "models", "list"],
        capture_output=True, text=True, check=False, timeout=60, cwd="/", env={"PATH": "/bin"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("gateway: GATEWAY_SECRET is not set")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("bare")
def test_what_needs_no_settings_works_without():
    shell = Shell.bare()
    assert "organizations" in shell.run("--help")
    os.environ.pop("GATEWAY_SECRET")  # which a call for help makes up
    assert "GATEWAY_SECRET" in shell.run("settings")


@pytest.mark.usefixtures("bare")
def test_a_service_says_what_it_lacks_even_beside_a_database_of_dev():
    Path(".data").mkdir()
    Path(".data", "gateway.env").write_text(f"GATEWAY_SECRET={SECRET}\n")
    said = Shell.bare().run("run", status=1)
    assert said.count("\n") == 1
    assert "GATEWAY_SECRET is not set" in said


def test_help_lists_every_command(shell: Shell):
    said = shell.run("--help")
    for word in ("organizations", "keys", "credits", "models", "workers", "audit", "run"):
        assert word in said
    assert "litestar" not in said.lower()


def test_the_settings_page_is_current(shell: Shell):
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert shell.run("settings", "--markdown") == page.read_text(), "run `make docs`"
