"""The URLs of metrics, under /<project>/<environment>/metrics/."""

from django.urls import path, re_path

from flags.results import metric_views

urlpatterns = [
    path("", metric_views.metric_list, name="metric_list"),
    path("+new/", metric_views.metric_new, name="metric_new"),
    path("<str:key>/", metric_views.metric_detail, name="metric_detail"),
    path("<str:key>/edit/", metric_views.metric_edit, name="metric_edit"),
    re_path(
        r"^(?P<key>[^/]+)/(?P<state>archive|unarchive)/$",
        metric_views.metric_archive,
        name="metric_archive",
    ),
]
