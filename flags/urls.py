"""The dashboard's addresses of this app, below /<project>/<environment>/flags/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
