"""The addresses under /v1 and /ofrep. Doubled nouns are as the published reference prints them."""

from django.urls import include, path

urlpatterns = [
    path("v1/", include("players.api")),
    path("v1/", include("events.api")),
    path("v1/", include("flags.api")),
    path("v1/", include("segments.api")),
    path("v1/", include("ilara_admin.apidocs.openapi")),
    path("ofrep/v1/", include("flags.ofrep.endpoints")),
]
