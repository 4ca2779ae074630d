"""The dashboard's addresses of events, below /<project>/<environment>/events/."""

from django.urls import path

from events import views

urlpatterns = [
    path("", views.event_tail, name="event_tail"),
    path("pending/", views.event_pending, name="event_pending"),
    path("stream/", views.event_stream, name="event_stream"),
    path("<int:event>/", views.event_detail, name="event_detail"),
]
