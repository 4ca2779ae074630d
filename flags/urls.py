"""The URLs of flags, under /<project>/<environment>/flags/."""

from django.urls import path, re_path

from flags.dashboard import (
    actions,
    archive,
    bulk,
    details,
    editor,
    listing,
    overrides,
    revisions,
    stale_list,
    views,
)

KEY = "<str:key>"

urlpatterns = [
    path("", listing.flag_list, name="flag_list"),
    re_path(r"^\+(?P<action>tag|untag|turn-off|archive)/$", bulk.flag_bulk, name="flag_bulk"),
    path("+csv/", listing.flag_list_csv, name="flag_list_csv"),
    path("+new/", views.flag_new, name="flag_new"),
    path("+stale/", stale_list.flag_stale_list, name="flag_stale_list"),
    path(f"{KEY}/", views.flag_detail, name="flag_detail"),
    path(f"{KEY}/rules/", editor.flag_rules, name="flag_rules"),
    path(f"{KEY}/rules/<str:rule_id>/percentage/", actions.flag_rollout, name="flag_rollout"),
    path(f"{KEY}/rules/<str:rule_id>/up/", actions.flag_move, name="flag_move"),
    path(f"{KEY}/prerequisites/", editor.flag_prerequisites, name="flag_prerequisites"),
    path(f"{KEY}/details/", details.flag_details, name="flag_details"),
    path(f"{KEY}/keep/", archive.flag_keep, name="flag_keep"),
    path(f"{KEY}/clone/", actions.flag_clone, name="flag_clone"),
    path(f"{KEY}/variants/", editor.flag_variants, name="flag_variants"),
    path(f"{KEY}/overrides/", overrides.flag_overrides, name="flag_overrides"),
    path(f"{KEY}/overrides/clear/", overrides.flag_overrides_clear, name="flag_overrides_clear"),
    path(
        f"{KEY}/players/<any_uuid:player_id>/remove/",
        overrides.flag_override_remove,
        name="flag_override_remove",
    ),
    path(f"{KEY}/players/<any_uuid:player_id>/", overrides.flag_override, name="flag_override"),
    path(f"{KEY}/review/", editor.flag_review, name="flag_review"),
    path(f"{KEY}/impact/<int:number>/", editor.flag_impact, name="flag_impact"),
    path(f"{KEY}/save/", editor.flag_save, name="flag_save"),
    path(f"{KEY}/revisions/<int:number>/", revisions.flag_revision, name="flag_revision"),
    path(f"{KEY}/compare/", revisions.flag_compare, name="flag_compare"),
    path(f"{KEY}/restore/<int:number>/", actions.flag_restore, name="flag_restore"),
    re_path(r"^(?P<key>[^/]+)/turn-(?P<state>on|off)/$", actions.flag_switch, name="flag_switch"),
    re_path(
        r"^(?P<key>[^/]+)/(?P<state>archive|unarchive)/$", archive.flag_archive, name="flag_archive"
    ),
]
