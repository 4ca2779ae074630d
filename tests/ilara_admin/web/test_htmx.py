"""Pages, partials, toasts and confirmations."""

import pytest
from django.contrib.messages import get_messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django_htmx.middleware import HtmxDetails

from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.htmx import redirect_to, render_partial, with_toast


def make_request(**hx: str) -> HttpRequest:
    headers = {f"HX-{name.replace('_', '-')}": value for name, value in hx.items()}
    return prepare(RequestFactory().get("/game/live/flags/x/", headers=headers))


def posted(**data: str) -> HttpRequest:
    return prepare(RequestFactory().post("/game/live/flags/x/", data))


def prepare(request: HttpRequest) -> HttpRequest:
    request.__dict__.update(htmx=HtmxDetails(request), _messages=CookieStorage(request))
    return request


CONFIRM = Confirm(title="Delete x", button="Delete x", cancel_url="/", type_to_confirm="x")


@pytest.mark.parametrize(
    ("hx", "whole"),
    [
        ({}, True),
        ({"Request": "true"}, False),
        ({"Request": "true", "Boosted": "true"}, True),
        ({"Request": "true", "History_Restore_Request": "true"}, True),
    ],
)
def test_render_partial__depends_on_the_htmx_headers(hx: dict[str, str], whole: bool) -> None:
    request = make_request(**hx)
    response = render_partial(request, "confirm.html", {"confirm": CONFIRM}, partial="confirm")
    assert (b"<!doctype html>" in response.content) is whole
    assert b"Type <code>x</code>" in response.content
    assert "HX-Request" in response["Vary"]


def test_redirect_to__uses_hx_redirect_for_htmx() -> None:
    assert redirect_to(make_request(), "/there/").status_code == 302
    response = redirect_to(make_request(Request="true"), "/there/")
    assert response.status_code == 200
    assert response["HX-Redirect"] == "/there/"


def test_toast_with_a_fragment__is_out_of_band_and_escaped() -> None:
    request = make_request(Request="true")
    response = with_toast(request, HttpResponse("<p>row</p>"), "<b>Saved", undo_url="/undo/")
    html = response.content.decode()
    assert 'hx-swap-oob="beforeend:#toasts"' in html
    assert "&lt;b&gt;Saved" in html
    assert 'action="/undo/"' in html
    assert not list(get_messages(request))


def test_error_toast__goes_to_the_alerts() -> None:
    response = with_toast(make_request(Request="true"), HttpResponse(), "No", tone="danger")
    assert b'hx-swap-oob="beforeend:#alerts"' in response.content


@pytest.mark.parametrize("hx", [{}, {"Request": "true"}])
def test_toast_before_a_navigation__is_shown_by_the_next_page(hx: dict[str, str]) -> None:
    request = make_request(**hx)
    with_toast(request, redirect_to(request, "/there/"), "Saved", undo_url="/undo/")
    (message,) = get_messages(request)
    assert (message.message, message.level_tag, message.extra_tags) == ("Saved", "ok", "/undo/")


def test_confirm__requires_the_typed_name() -> None:
    assert not CONFIRM.is_typed(posted(typed="y"))
    assert not CONFIRM.is_typed(posted())
    assert CONFIRM.is_typed(posted(typed=" x "))
    refused = Confirm(title="Delete x", button="Delete x", cancel_url="/", error="No match.")
    assert render_confirm(make_request(), CONFIRM).status_code == 200
    assert render_confirm(posted(), refused).status_code == 422
