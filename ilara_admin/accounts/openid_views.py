"""The pages of sign-in through OpenID Connect: start, return, and the connection of one's own
account."""

from allauth.socialaccount.providers.base import AuthError, AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from ilara_admin.accounts import openid
from ilara_admin.accounts.identity import identity_confirmed
from ilara_admin.accounts.openid_provider import OpenIdExchange, provider_for
from ilara_admin.models import Role
from ilara_admin.web.access import show_last_environment, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest


@never_cache
@login_not_required
@require_POST  # a link of another site must not sign anybody in
def start(request: HttpRequest) -> HttpResponse:
    return _leave(request, AuthProcess.LOGIN)


@never_cache
@login_not_required
@require_GET
def callback(request: HttpRequest) -> HttpResponseBase:
    """Where the provider sends the browser back to."""
    exchange = OpenIdExchange(request, provider_for(request).sub_id)
    try:
        response: HttpResponseBase = OAuth2CallbackView.adapter_view(exchange)(request)
    except (RequestException, OAuth2Error) as error:  # from the provider's document
        return openid.failure(request, True, AuthError.UNKNOWN, error)
    return response


@staff_view(Role.VIEWER, "GET", "POST")
@identity_confirmed
def account(request: HtmxHttpRequest) -> HttpResponse:
    """Connects one's own account to the provider (POST act=connect), or disconnects it."""
    if request.method == "GET":
        show_last_environment(request)
        context = {
            "connected": openid.connected(request.user),
            "name": openid.provider_config().name,
        }
        return render(request, "accounts/openid_account.html", context)
    if request.POST.get("act") == "connect":
        return _leave(request, AuthProcess.CONNECT)
    try:
        openid.disconnect(request.user)
    except ValidationError as error:
        messages.error(request, error.messages[0])
    else:
        messages.success(request, "Disconnected.")
    return redirect("openid_account")


def _leave(request: HttpRequest, process: str) -> HttpResponse:
    """A page that leads to the provider.

    It is no redirect: browsers apply form-action of our Content-Security-Policy to all redirects
    after a form, and providers redirect among addresses that we do not know.
    """
    provider = provider_for(request)
    try:
        sent = provider.redirect(request, process, next_url=_next(request))
    except (RequestException, OAuth2Error) as error:
        return openid.failure(request, True, AuthError.UNKNOWN, error)
    context = {"url": sent["Location"], "name": provider.name}
    return render(request, "accounts/openid_leave.html", context)


def _next(request: HttpRequest) -> str | None:
    url = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return url if url and ours else None
