"""The dashboard's addresses of this app, below /<project>/<environment>/segments/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
