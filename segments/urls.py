"""The dashboard's addresses of segments, below /<project>/<environment>/segments/."""

from django.urls import path

from segments import views

urlpatterns = [
    path("", views.segment_list, name="segment_list"),
    path("+new/", views.segment_new, name="segment_new"),
    path("<str:key>/", views.segment_detail, name="segment_detail"),
    path("<str:key>/edit/", views.segment_edit, name="segment_edit"),
    path("<str:key>/undo/<int:entry_id>/", views.segment_undo, name="segment_undo"),
    path("<str:key>/delete/", views.segment_delete, name="segment_delete"),
]
