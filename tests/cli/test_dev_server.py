"""When `gateway dev` says that it answers."""

import pytest
import uvicorn

from gateway.cli.dev_server import DevServer


@pytest.mark.parametrize(("loaded_at", "printed_at"), [(0, 0), (7, 7), (9_999, 600)])
async def test_the_banner_waits_for_the_model_but_not_forever(
    loaded_at: int, printed_at: int, capsys: pytest.CaptureFixture[str]
):
    now, printed = 0, []
    server = DevServer(
        uvicorn.Config("none"), "Try it", lambda: now >= loaded_at, at_once=lambda: None
    )
    for now in range(700):
        await server.on_tick(now)
        printed += [now] * capsys.readouterr().out.count("Try it")
    assert printed == [printed_at]
