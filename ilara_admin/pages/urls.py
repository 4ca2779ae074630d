"""The dashboard's addresses that belong to no app, below /<project>/<environment>/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
