"""Events: signed, as the SDK reads them, over real HTTP, and lost or late when told so."""

import json
from collections.abc import AsyncIterator

import pytest
import stripe
from aiohttp import web
from stripe import events as notifications
from stripe.events._event_classes import get_v2_event_notification_class
from stripe.v2.core._event import UnknownEventNotification

from gateway.fake_stripe.events import SUBSCRIBED, thin
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import API_VERSION
from tests.fake_stripe.sessions import open_session

SECRET = "whsec_of_the_test"


class Receiver:
    """A webhook that keeps what it got; `statuses` are its next answers."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), request.headers["stripe-signature"]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    def events(self, client: stripe.StripeClient) -> list[stripe.Event]:
        return [client.construct_event(body, header, SECRET) for body, header in self.got]

    def types(self, client: stripe.StripeClient) -> list[str]:
        return [event.type for event in self.events(client)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhooks/stripe", receiver.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server
    port = site._server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{port}/webhooks/stripe"
    yield receiver
    await runner.cleanup()


async def test_a_payment_tells_what_it_was_at_each_step(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    fake.listen(receiver.url, "whsec_old", SECRET)
    session = await open_session(client, customer)
    intent = fake.pay(session.id, "bank_debit")["payment_intent"]
    fake.settle_async(intent)
    await fake.events.idle()

    assert receiver.types(client) == [
        "payment_intent.processing",
        "checkout.session.completed",
        "payment_method.attached",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]
    completed = receiver.events(client)[1]
    assert completed.data.object["payment_status"] == "unpaid"
    assert completed.api_version == API_VERSION
    listed = await client.v1.events.list_async({"type": "payment_intent.succeeded"})
    assert [event.data.object["id"] for event in listed.data] == [intent]
    assert (await client.v1.events.retrieve_async(completed.id)).type == completed.type


async def test_thin_events_lead_to_the_object_as_it_is(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    fake.listen(receiver.url, SECRET, is_thin=True, types=["payment_intent.succeeded"])
    fake.pay((await open_session(client, customer)).id)
    await fake.events.idle()

    ((body, header),) = receiver.got
    notification = client.parse_event_notification(body, header, SECRET)

    assert isinstance(notification, notifications.V1PaymentIntentSucceededEventNotification)
    # not notification.fetch_..._async(), which of this SDK send a parameter that Stripe has not
    intent = await client.raw_request_async("get", notification.related_object.url)
    assert intent.data["status"] == "succeeded"
    event = await client.raw_request_async("get", f"/v2/core/events/{notification.id}")
    assert event.data == json.loads(body)


async def test_rules_drop_repeat_and_delay(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    fake.listen(receiver.url, SECRET)
    fake.events.rule("drop", "payment_intent.*")
    fake.events.rule("duplicate", "checkout.session.completed")
    fake.events.rule("delay", "payment_method.*", seconds=3600)
    fake.pay((await open_session(client, customer)).id)
    await fake.events.idle()
    assert (
        receiver.types(client) == ["payment_intent.succeeded"] + ["checkout.session.completed"] * 2
    )

    fake.advance(3601)
    await fake.events.idle()
    assert receiver.types(client)[-1] == "payment_method.attached"


async def test_held_events_come_in_another_order(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    fake.listen(receiver.url, SECRET)
    fake.events.hold()
    fake.pay((await open_session(client, customer)).id)
    await fake.events.idle()
    assert receiver.got == []

    assert fake.events.release("reversed") == 3
    await fake.events.idle()

    assert receiver.types(client) == [
        "checkout.session.completed",
        "payment_intent.succeeded",
        "payment_method.attached",
    ]


async def test_an_event_sent_again_is_older_than_its_object(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    fake.listen(receiver.url, SECRET, types=["charge.refunded"])
    intent = fake.pay((await open_session(client, customer)).id)["payment_intent"]
    fake.refund(intent, 500)
    fake.refund(intent, 700)
    old = list(fake.all("event", type="charge.refunded"))[-1]["id"]
    fake.resend(old)
    await fake.events.idle()

    refunded = [event.data.object["amount_refunded"] for event in receiver.events(client)]
    assert refunded == [500, 1200, 500]


async def test_what_is_not_taken_is_sent_again_later(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, receiver: Receiver
):
    receiver.statuses = [500, 503]
    target = fake.listen(receiver.url, SECRET, types=["customer.deleted"])
    await client.v1.customers.delete_async(customer)
    await fake.events.idle()
    assert target.answers == [("customer.deleted", 500)]

    for _ in range(2):
        fake.advance(3600)
        await fake.events.idle()

    assert [status for _, status in target.answers] == [500, 503, 200]
    assert target.pending == []


async def test_nobody_there_is_a_failure_too(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    target = fake.listen("http://127.0.0.1:9/webhooks", SECRET, types=["customer.deleted"])
    await client.v1.customers.delete_async(customer)
    await fake.events.idle()
    assert target.answers == [("customer.deleted", 0)]


@pytest.mark.parametrize("kind", sorted(set(SUBSCRIBED)))
def test_the_sdk_knows_each_type(kind: str):
    event = {"id": "evt_1", "type": kind, "created": 1, "livemode": False}
    about = {"id": "x_1", "object": "charge"}
    body = thin({**event, "data": {"object": about}})

    assert get_v2_event_notification_class(body["type"]) is not UnknownEventNotification
