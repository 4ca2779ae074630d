"""The dashboard's addresses. `/v1` and `/ofrep` have a tree of their own: api_urls.py."""

from django.urls import URLPattern, URLResolver, path

from ilara_admin import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
]
