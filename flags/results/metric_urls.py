"""The URLs of metrics, under /<project>/<environment>/metrics/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
