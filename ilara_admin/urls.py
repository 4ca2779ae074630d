"""The dashboard's addresses. `/v1` and `/ofrep` have a tree of their own, api_urls.py, and
middleware.py answers `/healthz` and `/readyz`."""

from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from ilara_admin import account, views
from ilara_admin.sign_in import SignInView

handler400 = "ilara_admin.views.bad_request"
handler403 = "ilara_admin.views.permission_denied"
handler404 = "ilara_admin.views.not_found"
handler500 = "ilara_admin.views.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    path("sign-in/", SignInView.as_view(), name="sign_in"),
    path("sign-out/", LogoutView.as_view(next_page="sign_in"), name="sign_out"),
    path("account/", account.account, name="account"),
    path("account/password/", account.account_password, name="account_password"),
    path("preferences/theme/", views.theme, name="theme"),
    path("", views.home, name="home"),
    path(
        "<slug:project>/<slug:environment>/",
        include(
            [
                path("players/", include("players.urls")),
                path("flags/", include("flags.urls")),
                path("segments/", include("segments.urls")),
                path("events/", include("events.urls")),
                path("", include("ilara_admin.pages.urls")),
            ]
        ),
    ),
]

if settings.DEBUG:
    urlpatterns[:0] = [path("_components/", views.components, name="components")]
