"""Sign-in through OpenID Connect in Chromium, against a provider in a thread."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import MODES, PATIENCE_MILLISECONDS, Ilara, Window, running_ilara
from tests.browser.test_every_page import problems
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer, running_provider
from tests.used_homes import UsedHomes

pytestmark = pytest.mark.browser

BUTTON = "Continue with Studio login"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenIdServer]:
    with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def studio(server: OpenIdServer, used_homes: UsedHomes) -> Iterator[Ilara]:
    """Ilara with the provider, whose group `ops` gives the role live-ops in its project."""
    environment = {
        "ILARA_OIDC_ISSUER": server.issuer,
        "ILARA_OIDC_CLIENT_ID": CLIENT_ID,
        "ILARA_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "ILARA_OIDC_NAME": "Studio login",
        "ILARA_OIDC_ROLES_CLAIM": "groups",
        "ILARA_OIDC_ROLES": "ops=my-game:live-ops,desk=my-game:support",
    }
    with (
        used_homes() as used,
        running_ilara(used.home, printed=used.printed, env=environment) as ilara,
    ):
        yield ilara


@pytest.fixture
def provider(server: OpenIdServer) -> OpenIdServer:
    server.reset(sub="1", name="Maya Lin", preferred_username="maya", groups=["ops"])
    return server


@pytest.fixture
def visitor(studio: Ilara, chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Opens the sign-in page as a new visitor; no page may have recorded errors at the end."""
    opened: list[Window] = []

    def visit(*, keyboard: bool = False, **options: Any) -> Window:
        context = chromium.new_context(reduced_motion="reduce", **options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        window = Window(context, context.new_page(), studio.url, keyboard)
        window.listen(window.page)
        opened.append(window)
        window.open("/sign-in/")
        return window

    yield visit
    for window in opened:
        window.context.close()
    assert [complaint for window in opened for complaint in window.complaints] == []


@pytest.mark.parametrize("mode", MODES)
def test_person__signs_in_with_the_role_of_the_claim_until_it_is_gone(
    mode: str, provider: OpenIdServer, studio: Ilara, visitor: Callable[..., Window]
) -> None:
    provider.person |= {"sub": mode, "name": f"Maya {mode}", "preferred_username": f"maya-{mode}"}
    window = visitor(**MODES[mode])
    window.press("button", BUTTON)
    window.page.wait_for_url("**/my-game/live/")
    window.context.clear_cookies()

    provider.person["groups"] = ["desk"]
    window.open("/sign-in/?next=/account/")
    window.press("button", BUTTON)
    window.page.wait_for_url("**/account/")
    expect(window.page.get_by_text(f"maya-{mode}").first).to_be_visible()
    window.context.clear_cookies()

    provider.person["groups"] = ["canteen"]
    window.open("/sign-in/")
    window.press("button", BUTTON)
    expect(window.page.get_by_role("alert")).to_contain_text("gives you no role here")
    window.press("link", "Back to sign-in")
    expect(window.page.get_by_label("Password")).to_be_visible()

    if mode == "mouse":
        window.page.get_by_label("Username").fill("admin")
        window.page.get_by_label("Password").fill(studio.password)
        window.press("button", "Sign in", exact=True)
        window.page.wait_for_url("**/my-game/live/")
        log = window.open("/my-game/live/audit/").locator("main")
        for text in ("OpenID Connect", "live-ops", "support"):
            expect(log).to_contain_text(text, ignore_case=True)


FORGERIES: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "of another sign-in"},
    "audience": {"aud": "another client"},
    "expired": {"exp": 1},
}


@pytest.mark.parametrize("forgery", ["signature", *FORGERIES])
def test_forged_token__signs_nobody_in(
    forgery: str, provider: OpenIdServer, visitor: Callable[..., Window]
) -> None:
    provider.token_claims = FORGERIES.get(forgery, {})
    provider.forge = forgery == "signature"
    window = visitor()
    window.press("button", BUTTON)
    expect(window.page.get_by_role("alert")).to_contain_text("cannot accept")
    window.open("/my-game/live/")
    assert "/sign-in/?next=" in window.page.url


def test_pages__have_no_findings(provider: OpenIdServer, visitor: Callable[..., Window]) -> None:
    window = visitor()
    found = problems(window.page)
    window.press("button", BUTTON)
    window.page.wait_for_url("**/my-game/live/")
    window.open("/account/openid/")
    expect(window.page.get_by_role("heading", name="Connected")).to_be_visible()
    found += problems(window.page)
    window.context.clear_cookies()
    provider.error = "access_denied"
    window.open("/sign-in/")
    window.press("button", BUTTON)
    expect(window.page.get_by_role("alert")).to_contain_text("You did not allow the sign-in")
    found += problems(window.page)
    assert not found
