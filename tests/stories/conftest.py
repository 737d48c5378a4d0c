"""A gateway as people meet it: its own process, real workers, a real mail server, Chromium."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import variable
from testing.gateways import SECRET
from testing.github import Github
from testing.mailbox import Mailbox
from testing.processes import running
from testing.servers import free_port

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
STELLA = "NovaSearch/stella_en_400M_v5"
STRIPE_SECRET = "whsec_of_the_stories_alone"
STELLA_DIMENSIONS = ["256", "512", "768", "1024", "2048", "4096", "6144", "8192"]
BILLING = "/console/billing"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",  # a container has too little there for pictures of long pages
]  # fmt: skip
_START_SECONDS = 60
expect.set_options(timeout=30_000)  # milliseconds: as much as its other waits


class Service:
    """The running gateway, and the commands of its operator."""

    def __init__(self, url: str, environment: dict[str, str], *, stella_url: str) -> None:
        self.url = url
        self.stella_url = stella_url
        self._environment = environment

    @property
    def database_url(self) -> str:
        return self._environment["DATABASE_URL"]

    def command(self, *arguments: str) -> str:
        """Run `gateway ...` as an operator would."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=self._environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def github(port: int) -> Iterator[Github]:
    with Github(f"http://127.0.0.1:{port}/sign-in/github/callback") as server:
        server.asks = True
        yield server


@pytest.fixture(scope="module")
def stripe(port: int) -> Iterator[str]:
    """Where the fake Stripe is, which tells the gateway of what happens there."""
    told = ["--webhook", f"http://127.0.0.1:{port}/webhooks/stripe", "--secret", STRIPE_SECRET]
    with running("gateway.fake_stripe", *told) as process:
        yield process.url


@pytest.fixture(scope="module")
def database_path(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's database, before it starts."""
    return shutil.copy(sqlite_template, tmp_path_factory.mktemp("story") / "gateway.db")


@pytest.fixture(scope="module")
def options() -> dict[str, str]:
    """Settings of one module's gateway."""
    return {}


@pytest.fixture(scope="module")
def service(
    mailbox: Mailbox, github: Github, stripe: str, port: int, database_path: Path,
    options: dict[str, str],
) -> Iterator[Service]:  # fmt: skip
    sha = ["--vocabulary-sha256", BERT_UNCASED_SHA256]
    minilm = ["--model", MINILM, "--dimensions", "384", *sha]
    stella = ["--model", STELLA, "--dimensions", *STELLA_DIMENSIONS, *sha]
    with running("backends.fake", *minilm) as one, running("backends.fake", *stella) as two:
        url = f"http://127.0.0.1:{port}"
        environment = os.environ | {
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": f"sqlite:///{database_path}",
            "GATEWAY_WORKERS": f"{MINILM}={one.url} {STELLA}={two.url}",
            "GATEWAY_PUBLIC_URL": url,
            "GATEWAY_SMTP_URL": mailbox.url,
            "GATEWAY_MAIL_SECONDS": "0.1",
            "GATEWAY_DEMAND_SECONDS": "0.2",
            "GATEWAY_ANSWER_WRITE_SECONDS": "0.2",
            "GATEWAY_SIGN_INS_PER_HOUR": "1000",
            "GATEWAY_KEY_WAIT_SECONDS": "60",
            "GATEWAY_STRIPE_SECRET_KEY": SECRET_KEY,
            "GATEWAY_STRIPE_API_URL": stripe,
            "GATEWAY_STRIPE_WEBHOOK_SECRETS": STRIPE_SECRET,
            "GATEWAY_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
            "GATEWAY_SUPPORT": "help@gateway.example",
            "GATEWAY_LEGAL_NAME": "Example Embeddings Ltd",
            "GATEWAY_LEGAL_ADDRESS": "1 Main Street, Dublin, Ireland",
            "GATEWAY_LEGAL_EMAIL": "hello@gateway.example",
            "GATEWAY_LEGAL_LAW": "the laws of Ireland",
            "GATEWAY_PROCESSING_REGION": "Dublin, Ireland",
            **{variable(name): value for name, value in github.settings.items()},
            **options,
        }
        made = Service(url, environment, stella_url=two.url)
        with serving(environment, port):
            yield made


@pytest.fixture(scope="module")
def dev_url(dev_service: Service) -> str:
    """Where a gateway shows its mail instead of sending it, as on the machine of a developer."""
    return dev_service.url


@pytest.fixture(scope="module")
def dev_service(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The gateway at `dev_url`, and the commands of its operator."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("dev") / "gateway.db")
    environment = os.environ | {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{path}",
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_DEV_MAIL": "true",
    }
    with serving(environment, port):
        yield Service(url, environment, stella_url="")


@contextmanager
def serving(environment: dict[str, str], port: int, path: str = "/health/ready") -> Iterator[None]:
    """Run a gateway until the end of the block; it is there when a path is answered with 200."""
    command = [sys.executable, "-m", "gateway", "run", "--port", str(port)]
    at_once = {"GATEWAY_DRAIN_SECONDS": "0"}
    child = subprocess.Popen(command, env=environment | at_once, stdout=subprocess.DEVNULL)
    try:
        _await(f"http://127.0.0.1:{port}{path}", child)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=30)


def _await(url: str, child: subprocess.Popen[bytes]) -> None:
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(transport=transport) as client:
        for _ in range(_START_SECONDS * 10):
            with suppress(httpx.TransportError):
                if client.get(url).status_code == 200:
                    return
            try:  # a server that starts in another process has no event to wait for
                child.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError("the gateway did not start")
    raise AssertionError("the gateway did not get ready")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one module: Playwright holds this thread's event loop until it is closed."""
    if not Path(CHROMIUM).exists() and shutil.which("chromium") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install -y --no-install-recommends chromium")
        pytest.skip("needs Chromium: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(
    params=[True, pytest.param(False, marks=pytest.mark.long)], ids=["javascript", "no-javascript"]
)
def context(
    chromium: Browser, service: Service, request: pytest.FixtureRequest
) -> Iterator[BrowserContext]:
    made = chromium.new_context(base_url=service.url, java_script_enabled=request.param)
    yield made
    made.close()


@pytest.fixture
def context_has_javascript(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.callspec.params["context"])


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    yield opened
    refused = [text for text in problems if "status of 4" not in text]
    assert refused == [], "the browser complained: a script failed, or the policy was broken"


def sign_out(page: Page) -> None:
    """Sign out through the account menu."""
    page.locator(".menu > summary").click()
    page.get_by_role("banner").get_by_role("button", name="Sign out").click()


def link_in(mailbox: Mailbox, address: str, subject: str) -> str:
    """Return the link of the newest mail of a subject to somebody, once it is there."""
    body = mailbox.wait(address, subject).get_body(("plain",))
    assert body
    found = re.search(r"http://\S+", body.get_content())
    assert found
    return found[0]


def sign_in(page: Page, mailbox: Mailbox, address: str) -> None:
    """Sign in by the mailed link, beginning on a page that asks for it."""
    before = len(mailbox.to(address, "Sign in"))
    page.get_by_label("Email", exact=True).fill(address)
    page.get_by_role("button", name="Email me a link").click()
    mailbox.wait_for_more(address, "Sign in", before)
    page.goto(link_in(mailbox, address, "Sign in"))
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def buys(page: Page, dollars: int, *, saves_card: bool = False) -> None:
    """Choose an amount and go to Stripe's page."""
    page.goto(BILLING)
    page.get_by_role("radio", name=f"${dollars}", exact=False).first.check()
    if saves_card:
        page.get_by_label("Save this card").check()
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Checkout")
