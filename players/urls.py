"""The dashboard's addresses of this app, below /<project>/<environment>/players/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
