"""The dashboard's addresses of this app, below /<project>/<environment>/events/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
