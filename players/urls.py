"""Dashboard URLs of players, under /<project>/<environment>/players/.

The list and the page of a player are in ilara_admin/pages, as they also show segments and flags.
"""

from django.urls import path

from players import actions, churn_views, data_views, views

urlpatterns = [
    path("churn/", churn_views.churn_model, name="churn_model"),
    path("<any_uuid:player_id>/edit/", views.player_edit, name="player_edit"),
    path("<any_uuid:player_id>/export/", data_views.player_data_export, name="player_data_export"),
    path("<any_uuid:player_id>/erase/", data_views.player_erase, name="player_erase"),
    path("<any_uuid:player_id>/notes/", actions.player_notes, name="player_notes"),
    path("<any_uuid:player_id>/notes/add/", actions.player_note_add, name="player_note_add"),
    path(
        "<any_uuid:player_id>/notes/<any_uuid:note_id>/delete/",
        actions.player_note_delete,
        name="player_note_delete",
    ),
    path("<any_uuid:player_id>/ids/add/", actions.player_alias_add, name="player_alias_add"),
    path(
        "<any_uuid:player_id>/ids/<any_uuid:alias_id>/remove/",
        actions.player_alias_remove,
        name="player_alias_remove",
    ),
    path(
        "<any_uuid:player_id>/purchases/<str:purchase>/refund/",
        actions.player_refund,
        name="player_refund",
    ),
    path(
        "<any_uuid:player_id>/purchases/<str:purchase>/reverse/",
        actions.player_refund_reverse,
        name="player_refund_reverse",
    ),
]
