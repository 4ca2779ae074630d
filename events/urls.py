"""Dashboard URLs of events, below /<project>/<environment>/events/."""

from django.urls import path

from events import catalogue_views, download, live_stream, views

urlpatterns = [
    path("", views.event_tail, name="event_tail"),
    path("pending/", views.event_pending, name="event_pending"),
    path("rate/", views.event_rate, name="event_rate"),
    path("stream/", live_stream.event_stream, name="event_stream"),
    path("download/", download.event_download, name="event_download"),
    path("names/", catalogue_views.event_names, name="event_names"),
    path("names/csv/", catalogue_views.event_names_csv, name="event_names_csv"),
    path("names/<int:name_id>/", catalogue_views.event_name, name="event_name"),
    path(
        "names/<int:name_id>/describe/",
        catalogue_views.event_name_describe,
        name="event_name_describe",
    ),
    path(
        "names/<int:name_id>/personal/",
        catalogue_views.event_property_personal,
        name="event_property_personal",
    ),
    path("rejected/", catalogue_views.event_rejected, name="event_rejected"),
    path("<int:event>/", views.event_detail, name="event_detail"),
]
