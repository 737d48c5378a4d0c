"""Logs hold no secret and no customer's text, whatever goes wrong."""

import pytest

from gateway.observability import logging
from testing.gateways import Api

TEXT = "what-a-customer-wrote"


@pytest.mark.parametrize("form", ["json", "console"])
async def test_nothing_is_leaked(
    api: Api, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form
):
    logging.configure(form)

    async def explode(*_args, **_options):
        secret_in_a_variable = f"{TEXT} {api.ledger.secret}"
        raise RuntimeError(f"it broke with {secret_in_a_variable[-50:]}")

    monkeypatch.setattr(api.gateway.core.router, "dispatch", explode)
    answer = await api.embed(input=TEXT)
    assert answer.status_code == 500
    assert TEXT not in answer.text
    await api.embed(input=[TEXT, ""])
    await api.embed(model=TEXT)
    await api.http.get(f"/v1/{TEXT}")
    logged = capfd.readouterr().err
    assert "RuntimeError: it broke with" in logged  # the trace is there
    assert "sk-***" in logged
    assert api.ledger.secret not in logged
    assert TEXT not in logged
    await api.assert_untouched()
