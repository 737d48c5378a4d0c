"""What `gateway dev` keeps for other commands, and how they find it."""

import os
from pathlib import Path

import pytest

from gateway.cli import dev_running, main
from gateway.cli.dev_environment import use_environment, write_variables
from gateway.cli.dev_stripe import fake_stripe
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import Settings
from testing.gateways import SECRET
from tests.cli.test_dev import variables

URL = "http://127.0.0.1:8080"


pytestmark = pytest.mark.usefixtures("bare")


async def kept(data: Path) -> None:
    """Write what a run with the fake Stripe leaves."""
    settings = dev_running._settings(data, URL)
    async with fake_stripe(settings) as selling:
        write_variables(data / "gateway.env", dev_running._environment(selling))


async def test_other_commands_find_the_database_and_the_fake(tmp_path: Path):
    await kept(tmp_path)
    use_environment(tmp_path)
    found = Settings.from_environment()
    assert found.database_url == f"sqlite:///{tmp_path / 'gateway.db'}"
    assert found.stripe_secret_key == SECRET_KEY
    assert found.stripe_api_url.startswith("http://127.0.0.1:")


async def test_a_secret_in_a_file_is_a_configuration(tmp_path: Path):
    await kept(tmp_path)
    os.environ["GATEWAY_SECRET_FILE"] = written(tmp_path, SECRET)
    use_environment(tmp_path)
    found = Settings.from_environment()
    assert (found.secret, found.stripe_secret_key) == (SECRET, "")


@pytest.mark.parametrize("suffix", ["", "_FILE"])
async def test_a_key_of_ones_own_is_not_mixed_with_the_fake(tmp_path: Path, suffix: str):
    await kept(tmp_path)
    key = "sk_test_of_ones_own"
    os.environ[f"GATEWAY_STRIPE_SECRET_KEY{suffix}"] = written(tmp_path, key) if suffix else key
    os.environ["DATABASE_URL_FILE"] = written(tmp_path, "sqlite:///elsewhere", name="url")
    use_environment(tmp_path)
    found = Settings.from_environment()
    assert (found.stripe_secret_key, found.stripe_webhook_secrets) == (key, "")
    assert found.stripe_api_url == "https://api.stripe.com"
    assert found.database_url == "sqlite:///elsewhere"


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_real_key_is_not_copied(tmp_path: Path, suffix: str):
    key = "sk_test_of_ones_own"
    os.environ[f"GATEWAY_STRIPE_SECRET_KEY{suffix}"] = written(tmp_path, key) if suffix else key
    settings = dev_running._settings(tmp_path, URL)
    assert settings.stripe_secret_key == key
    assert key not in (tmp_path / "gateway.env").read_text()


def test_it_starts_with_secrets_in_files(tmp_path: Path):
    os.environ["GATEWAY_SECRET_FILE"] = written(tmp_path, SECRET)
    os.environ["DATABASE_URL_FILE"] = written(tmp_path, "sqlite:///elsewhere", name="url")
    first = dev_running._settings(tmp_path, URL)
    assert first.database_url == f"sqlite:///{tmp_path / 'gateway.db'}"
    assert dev_running._settings(tmp_path, URL).secret == first.secret
    assert variables(tmp_path / "gateway.env")["GATEWAY_SECRET"] == first.secret


async def test_a_second_start_does_not_look_for_the_fake_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".data").mkdir()
    await kept(tmp_path / ".data")
    monkeypatch.setattr(main.sys, "argv", ["gateway", "dev"])
    monkeypatch.setattr(main, "gateway", lambda **_: None)
    main.run()
    assert not dev_running._settings(tmp_path / ".data", URL).stripe_secret_key


def written(folder: Path, text: str, name: str = "secret") -> str:
    """Write a secret to a file, and return its path."""
    file = folder / name
    file.write_text(text)
    return str(file)
