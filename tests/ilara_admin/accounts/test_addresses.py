"""Which addresses of allauth are routed: none that is not listed here."""

import pytest
from django.urls import NoReverseMatch, reverse

from tests.pages import PAGES, signed_in

# Names of URL patterns whose views are allauth's own.
ROUTED: set[str] = set()


def test_views_of_allauth__are_routed_only_if_listed() -> None:
    theirs = {
        name
        for name, page in PAGES.items()
        if (getattr(page.view, "view_class", page.view)).__module__.startswith("allauth")
    }
    assert theirs == ROUTED


@pytest.mark.parametrize(
    "name",
    ["account_signup", "account_email", "account_reset_password", "mfa_index", "account_logout"],
)
def test_other_pages_of_allauth__have_no_address(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)


@pytest.mark.parametrize(
    "path", ["accounts/signup/", "accounts/login/", "accounts/email/", "account/signup/", "mfa/"]
)
def test_usual_addresses_of_allauth__are_404(path: str, db: None) -> None:
    assert signed_in().get(f"/{path}").status_code == 404
