"""Settings of payments, and secrets in files: a mistake is one line that names the variable."""

import pytest
from structlog.testing import capture_logs

from gateway.app.payments import warn_of_test_mode
from gateway.settings import Settings, SettingsError
from testing.gateways import SECRET

WEBHOOK_SECRET = "whsec_of_16_characters"
GOOD = {
    "GATEWAY_SECRET": SECRET,
    "GATEWAY_STRIPE_SECRET_KEY": "sk_test_1",
}
LIVE = {
    "GATEWAY_SECRET": SECRET,
    "GATEWAY_STRIPE_SECRET_KEY": "rk_live_1",
    "GATEWAY_STRIPE_LIVE": "true",
    "GATEWAY_SELLER": "Acme, 1 Main Street",
    "GATEWAY_TERMS": "https://g.example/terms",
    "GATEWAY_SUPPORT": "help@g.example",
    "GATEWAY_PUBLIC_URL": "https://g.example",
}


def mistake(environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(environment)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_both_modes_as_they_should_be():
    assert not Settings.from_environment(GOOD).stripe_live
    assert Settings.from_environment(LIVE).stripe_live


@pytest.mark.parametrize(
    ("key", "live", "words"),
    [
        ("sk_live_1", "false", "is a key of live mode, but GATEWAY_STRIPE_LIVE is false"),
        ("rk_live_1", "", "is a key of live mode"),
        ("sk_test_1", "true", "is a key of test mode, but GATEWAY_STRIPE_LIVE is true"),
        ("pk_test_1", "", "starts with sk_test_"),
        ("whatever", "", "starts with sk_test_"),
    ],
)
def test_a_key_of_the_wrong_mode_or_kind(key: str, live: str, words: str):
    said = mistake(LIVE | {"GATEWAY_STRIPE_SECRET_KEY": key, "GATEWAY_STRIPE_LIVE": live})
    assert said.startswith("GATEWAY_STRIPE_SECRET_KEY")
    assert words in said
    assert key not in said.replace("sk_test_ or sk_live_", "")


@pytest.mark.parametrize("name", ["GATEWAY_SELLER", "GATEWAY_TERMS", "GATEWAY_SUPPORT"])
def test_live_mode_needs_what_buyers_must_see(name: str):
    assert name in mistake(LIVE | {name: ""})


@pytest.mark.parametrize("name", ["GATEWAY_SECRET", "GATEWAY_WORKER_SECRET"])
def test_a_secret_is_not_one_character_again_and_again(name: str):
    said = mistake({"GATEWAY_SECRET": SECRET} | {name: "ab" * 20})
    assert said.startswith(f"{name} is easy to guess")
    assert "abab" not in said


@pytest.mark.parametrize("url", ["http://gateway.example", "https://gateway.example"])
def test_sign_in_links_are_shown_on_this_machine_alone(url: str):
    given = {"GATEWAY_SECRET": SECRET, "GATEWAY_DEV_MAIL": "true"}
    assert Settings.from_environment(given | {"GATEWAY_PUBLIC_URL": "http://127.0.0.1:80"}).dev_mail
    assert mistake(given | {"GATEWAY_PUBLIC_URL": url}).startswith("GATEWAY_DEV_MAIL")


def test_live_mode_needs_tls():
    said = mistake(LIVE | {"GATEWAY_PUBLIC_URL": "http://g.example"})
    assert "https://" in said


@pytest.mark.parametrize(
    "more", [{"GATEWAY_STRIPE_LIVE": "true"}, {"GATEWAY_STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET}]
)
def test_other_settings_need_the_key(more: dict[str, str]):
    assert "GATEWAY_STRIPE_SECRET_KEY is not set" in mistake({"GATEWAY_SECRET": SECRET} | more)


@pytest.mark.parametrize("wrong", ["sk_test_1", "whsec_"])
def test_webhook_secrets_are_what_they_should_be(wrong: str):
    good = {"GATEWAY_STRIPE_WEBHOOK_SECRETS": f"{WEBHOOK_SECRET} {WEBHOOK_SECRET}"}
    assert Settings.from_environment(GOOD | good)
    said = mistake(GOOD | {"GATEWAY_STRIPE_WEBHOOK_SECRETS": f"{WEBHOOK_SECRET} {wrong}"})
    assert said.startswith("GATEWAY_STRIPE_WEBHOOK_SECRETS: each must start with whsec_")
    assert "sk_test_1" not in said


def test_live_mode_wants_secrets_that_nobody_guesses():
    said = mistake(LIVE | {"GATEWAY_STRIPE_WEBHOOK_SECRETS": "whsec_15_characters_"})
    assert "16 characters or more" in said


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stripe.com",
        "http://127.0.0.1:4242",
        "http://stripe:4242",
        "http://[::1]:4242",
        "https://double.example/",
    ],
)
def test_a_double_of_stripe_may_be_anywhere_in_test_mode(url: str):
    assert Settings.from_environment(GOOD | {"GATEWAY_STRIPE_API_URL": url}).stripe_api_url == url


@pytest.mark.parametrize(
    "url",
    [
        "junk; script-src *",
        "https://double.example; script-src *",
        "https://double.example/path",
        "https://double.example?x",
        "https://double.example#x",
        "https://user@double.example",
        "https://double.example:99999",
        "https://double.example:0",
        "ftp://double.example",
        "https://",
        "//double.example",
    ],
)
def test_where_stripe_is_names_a_host_alone(url: str):
    assert mistake(GOOD | {"GATEWAY_STRIPE_API_URL": url}).startswith("GATEWAY_STRIPE_API_URL")


@pytest.mark.parametrize(
    "url", ["http://api.stripe.com", "https://api.stripe.com.example", "http://127.0.0.1:4242"]
)
def test_live_mode_talks_to_stripe_itself(url: str):
    said = mistake(LIVE | {"GATEWAY_STRIPE_API_URL": url})
    assert "GATEWAY_STRIPE_API_URL to be https://api.stripe.com" in said


@pytest.mark.parametrize("terms", ["javascript:alert(1)", "/terms", "https://a b"])
def test_the_terms_are_a_page(terms: str):
    assert mistake(GOOD | {"GATEWAY_TERMS": terms}).startswith("GATEWAY_TERMS")


def test_live_mode_sends_nothing_to_private_hosts():
    hosts = {"GATEWAY_WEBHOOK_PRIVATE_HOSTS": "10.0.0.7"}
    assert Settings.from_environment(GOOD | hosts)
    assert "GATEWAY_WEBHOOK_PRIVATE_HOSTS" in mistake(LIVE | hosts)


@pytest.mark.parametrize(
    ("changed", "warns"),
    [
        ({"GATEWAY_PUBLIC_URL": "https://g.example"}, True),
        ({}, False),
        ({"GATEWAY_PUBLIC_URL": "https://g.example", "GATEWAY_STRIPE_SECRET_KEY": ""}, False),
        (LIVE, False),
    ],
)
def test_test_mode_where_the_world_can_reach_it_is_warned_of(changed: dict[str, str], warns: bool):
    with capture_logs() as logs:
        warn_of_test_mode(Settings.from_environment(GOOD | changed))
    assert [line["log_level"] for line in logs] == ["warning"] * warns
