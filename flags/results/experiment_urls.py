"""The URLs of experiments and guarded rollouts, under /<project>/<environment>/experiments/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
