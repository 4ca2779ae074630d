"""URLs of the dashboard. Those of `/v1` and `/ofrep` are in api_urls.py; middleware.py handles
`/healthz` and `/readyz`."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from ilara_admin.pages import errors_and_theme, home

handler400 = "ilara_admin.pages.errors_and_theme.bad_request"
handler403 = "ilara_admin.pages.errors_and_theme.permission_denied"
handler404 = "ilara_admin.pages.errors_and_theme.not_found"
handler500 = "ilara_admin.pages.errors_and_theme.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("ilara_admin.accounts.urls")),
    path("preferences/theme/", errors_and_theme.theme, name="theme"),
    path("", home.home, name="home"),
    path(
        "<slug:project>/<slug:environment>/",
        include(
            [
                # First: `flags/+copy/` looks like the page of a flag.
                path("", include("ilara_admin.pages.urls")),
                path("players/", include("players.urls")),
                path("flags/", include("flags.urls")),
                path("metrics/", include("flags.results.metric_urls")),
                path("experiments/", include("flags.results.experiment_urls")),
                path("segments/", include("segments.urls")),
                path("events/", include("events.urls")),
            ]
        ),
    ),
]

if settings.OPENID:
    urlpatterns[:0] = [path("", include("ilara_admin.accounts.openid_urls"))]

if settings.DEBUG:
    urlpatterns[:0] = [path("_components/", errors_and_theme.components, name="components")]
