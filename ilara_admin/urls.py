"""The dashboard's addresses. `/v1` and `/ofrep` have a tree of their own: api_urls.py."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
