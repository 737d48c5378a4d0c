"""The controls: what tests in another process may do to the account, as JSON under `/_fake/`."""

import json
from collections.abc import Callable
from typing import Any

from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.refusals import ApiRefusal

OPTIONS = {"books_late", "livemode", "refunds_begin"}


def answer(fake: FakeStripe, method: str, path: str, body: str) -> tuple[int, Any]:
    """Do `POST /_fake/NAME` with the arguments in its body, and give what it returned."""
    control = _controls(fake).get(path.removeprefix("/_fake/"))
    if control is None or method != "POST":
        return 404, {"error": {"message": f"There is no control {path}"}}
    try:
        result = control(**json.loads(body or "{}"))
    except ApiRefusal as refusal:
        return refusal.status, dict(refusal.body)
    except (TypeError, ValueError, AssertionError) as error:
        return 400, {"error": {"message": str(error)}}
    return 200, {"result": result}


def _controls(fake: FakeStripe) -> dict[str, Callable[..., Any]]:
    mine: tuple[Callable[..., Any], ...] = (
        fake.pay,
        fake.settle_async,
        fake.authenticate,
        fake.save_card,
        fake.set_card,
        fake.replace_card,
        fake.refund,
        fake.settle_refund,
        fake.dispute,
        fake.move_dispute,
        fake.close_dispute,
        fake.warn,
        fake.post_balances,
        fake.advance,
        fake.resend,
        fake.events.rule,
        fake.events.hold,
        fake.events.release,
    )
    return {
        **{control.__name__: control for control in mine},
        "fail": fake.faults.add,
        "clear_faults": fake.faults.clear,
        "release_faults": fake.faults.release,
        "listen": lambda url, secret, **options: fake.listen(url, secret, **options) and None,
        "calls": lambda: list(fake.calls),
        "balance": lambda: fake.balance_cents,
        "answers": lambda: [
            [target.url, kind, status]
            for target in fake.events.targets
            for kind, status in target.answers
        ],
        "set": lambda **options: _set(fake, options),
    }


def _set(fake: FakeStripe, options: dict[str, Any]) -> None:
    assert set(options) <= OPTIONS, f"The options are {sorted(OPTIONS)}"
    for name, value in options.items():
        setattr(fake, name, value)
