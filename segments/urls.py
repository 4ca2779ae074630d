"""Dashboard URLs of segments, below /<project>/<environment>/segments/."""

from django.urls import path

from segments import views
from segments.editor import views as editor_views
from segments.lists import views as list_views

urlpatterns = [
    path("", views.segment_list, name="segment_list"),
    path("+new/", editor_views.segment_new, name="segment_new"),
    path("<str:key>/", views.segment_detail, name="segment_detail"),
    path("<str:key>/edit/", editor_views.segment_edit, name="segment_edit"),
    path("<str:key>/size/", views.segment_size, name="segment_size"),
    path("<str:key>/count/", views.segment_count, name="segment_count"),
    path("<str:key>/members/", views.segment_members, name="segment_members"),
    path("<str:key>/delete/", views.segment_delete, name="segment_delete"),
    path("<str:key>/lists/", list_views.segment_lists, name="segment_lists"),
    path("<str:key>/lists/add/", list_views.segment_ids_add, name="segment_ids_add"),
    path("<str:key>/lists/remove/", list_views.segment_ids_remove, name="segment_ids_remove"),
    path("<str:key>/lists/import/", list_views.segment_lists_import, name="segment_lists_import"),
    path(
        "<str:key>/lists/download/",
        list_views.segment_lists_download,
        name="segment_lists_download",
    ),
    path("<str:key>/lists/clear/", list_views.segment_lists_clear, name="segment_lists_clear"),
]
