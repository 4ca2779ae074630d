"""The addresses under /v1. The nouns are doubled as the published reference prints them."""

from django.urls import include, path

urlpatterns = [
    path("v1/", include("players.api")),
    path("v1/", include("events.api")),
    path("v1/", include("flags.api")),
    path("v1/", include("segments.api")),
]
