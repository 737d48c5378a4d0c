"""Each secret may be in a file, and what is wrong with one is a line without the secret."""

import os
from pathlib import Path

import pytest

from backends.secret_files import FILE_BYTES_MAX
from gateway.settings import SECRETS, Settings, SettingsError, variable
from testing.gateways import SECRET

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4
GOOD = {
    "secret": SECRET,
    "database_url": "postgresql://user:password@host/name",
    "migration_database_url": "postgresql://owner:password@host/name",
    "redis_url": "redis://:password@host:6379/0",
    "worker_secret": NEW,
    "receipt_secret": NEW,
    "metrics_token": OLD,
    "github_client_secret": "of github",
    "smtp_url": "smtps://user:password@host",
    "stripe_secret_key": "sk_test_1",
    "stripe_webhook_secrets": "whsec_1",
}


def test_each_setting_that_holds_a_secret_is_one():
    """A new one must be marked too: its name, or what it holds, gives it away."""
    named = {
        name for name in Settings.__dataclass_fields__
        if name.endswith(("secret", "secrets", "_key", "_token", "_url")) or name == "secret"
    }  # fmt: skip
    public = {"public_url", "admin_url", "github_url", "github_api_url", "stripe_api_url"}
    assert named - public == set(SECRETS) == set(GOOD)


@pytest.mark.parametrize("field", SECRETS)
def test_it_may_be_in_a_file(field: str, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text(f"{GOOD[field]}\n")
    needed = {variable(name): GOOD[name] for name in ("secret", "stripe_secret_key")}
    needed.pop(variable(field), None)
    settings = Settings.from_environment(needed | {f"{variable(field)}_FILE": str(file)})
    assert getattr(settings, field) == GOOD[field]


def mistake(environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(environment)
    assert "\n" not in str(raised.value)
    assert not {OLD, NEW} & set(str(raised.value).replace(",", " ").split())
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff" * 40, "can't be read: not a text file"),
        (b"a" * (FILE_BYTES_MAX + 1), f"is larger than {FILE_BYTES_MAX} bytes"),
    ],
)
def test_a_file_that_can_t_be_used(content: bytes | None, words: str, tmp_path: Path):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    said = mistake({"GATEWAY_SECRET_FILE": str(file)})
    assert said == f"GATEWAY_SECRET_FILE: {file} {words}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_is_another_user_s(tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text(OLD)
    file.chmod(0)
    assert mistake({"GATEWAY_SECRET_FILE": str(file)}).endswith("can't be read: Permission denied")


def test_a_folder_is_no_file_and_both_are_too_much(tmp_path: Path):
    assert "Is a directory" in mistake({"GATEWAY_SECRET_FILE": str(tmp_path)})
    both = {"GATEWAY_SECRET": OLD, "GATEWAY_SECRET_FILE": str(tmp_path)}
    assert mistake(both) == "GATEWAY_SECRET_FILE: GATEWAY_SECRET is set too; use one of them"


@pytest.mark.parametrize("name", ["GATEWAY_SECRET", "GATEWAY_WORKER_SECRET"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{NEW},{NEW}", "holds the same secret twice"),
        (",".join(f"{NEW}{n}" for n in range(5)), "holds 5 secrets; at most 4 are allowed"),
        (f"{NEW},{'ab' * 20}", "is easy to guess"),
        ("too short", "is too short: a secret has at least 32 characters"),
    ],
)
def test_lists_that_can_t_be_used(name: str, text: str, words: str):
    assert mistake({"GATEWAY_SECRET": SECRET} | {name: text}).startswith(f"{name} {words}")


def test_a_list_of_secrets():
    settings = Settings.from_environment({"GATEWAY_SECRET": f"{NEW}, {OLD}"})
    assert settings.keyring.all == (NEW, OLD)
    assert settings.receipt_keyring.all == (NEW, OLD)
    settings = Settings.from_environment({"GATEWAY_SECRET": NEW, "GATEWAY_RECEIPT_SECRET": OLD})
    assert settings.receipt_keyring.all == (OLD,)
