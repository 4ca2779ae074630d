"""URLs below /<project>/<environment>/ that do not belong to an app."""

from django.urls import path

from ilara_admin.apidocs import developer_views, reference_views
from ilara_admin.pages import (
    audit_log,
    compare,
    copying,
    keys,
    overview,
    palette,
    player,
    saved_views,
    search,
    settings,
    staff,
)

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("players/<any_uuid:player_id>/", player.player_detail, name="player_detail"),
    path("players/<any_uuid:player_id>/summary/", player.player_summary, name="player_summary"),
    path("flags/+copy/", copying.flag_copy, name="flag_copy"),
    path("segments/+copy/", copying.segment_copy, name="segment_copy"),
    path(
        "flags/<str:key>/compare/<slug:other>/",
        compare.flag_environment_compare,
        name="flag_environment_compare",
    ),
    path(
        "segments/<str:key>/compare/<slug:other>/",
        compare.segment_environment_compare,
        name="segment_environment_compare",
    ),
    path("compare/<slug:other>/", compare.environment_compare, name="environment_compare"),
    path("find/", search.find, name="find"),
    path("palette/", palette.palette, name="palette"),
    path("audit/", audit_log.audit_list, name="audit_list"),
    path("audit/export/", audit_log.audit_export_file, name="audit_export"),
    path("audit/<int:entry_id>/", audit_log.audit_entry, name="audit_entry"),
    path("audit/<int:entry_id>/undo/", audit_log.audit_undo, name="audit_undo"),
    path(
        "audit/<int:entry_id>/undo/together/",
        audit_log.audit_undo_together,
        name="audit_undo_together",
    ),
    path("keys/", keys.key_list, name="key_list"),
    path("keys/new/", keys.key_create, name="key_create"),
    path("keys/<int:pk>/rotate/", keys.key_rotate, name="key_rotate"),
    path("keys/<int:pk>/revoke/", keys.key_revoke, name="key_revoke"),
    path("developers/", developer_views.developers, name="developers"),
    path("developers/reference/", reference_views.reference, name="reference"),
    path(
        "developers/reference/<slug:operation_id>/",
        reference_views.reference_operation,
        name="reference_operation",
    ),
    path("settings/", settings.environment_settings, name="environment_settings"),
    path("settings/edit/", settings.environment_edit, name="environment_edit"),
    path("settings/project/", settings.project_edit, name="project_edit"),
    path("settings/projects/new/", settings.project_new, name="project_new"),
    path("settings/environments/new/", settings.environment_new, name="environment_new"),
    path("views/<str:page>/new/", saved_views.saved_view_new, name="saved_view_new"),
    path("views/<int:view_id>/", saved_views.saved_view_rename, name="saved_view_rename"),
    path("views/<int:view_id>/delete/", saved_views.saved_view_delete, name="saved_view_delete"),
    path("staff/", staff.staff_list, name="staff_list"),
    path("staff/new/", staff.staff_new, name="staff_new"),
    path("staff/<int:pk>/", staff.staff_edit, name="staff_edit"),
    path("staff/<int:pk>/password/", staff.staff_password, name="staff_password"),
    path("staff/<int:pk>/deactivate/", staff.staff_deactivate, name="staff_deactivate"),
    path("staff/<int:pk>/reactivate/", staff.staff_reactivate, name="staff_reactivate"),
]
