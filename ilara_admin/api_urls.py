"""URLs under /v1 and /ofrep. The doubled nouns (players/players) are those of the published API."""

from django.urls import include, path, re_path

from flags.ofrep.endpoints import no_such_path

urlpatterns = [
    path("v1/", include("players.api")),
    path("v1/", include("events.api")),
    path("v1/", include("flags.api")),
    path("v1/", include("flags.results.api")),
    path("v1/", include("segments.api")),
    path("v1/", include("ilara_admin.apidocs.openapi")),
    path("ofrep/v1/", include("flags.ofrep.endpoints")),
    re_path(r"^ofrep(?:/|$)", no_such_path),
]
