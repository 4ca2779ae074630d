"""The dashboard's addresses that belong to no app, below /<project>/<environment>/."""

from django.urls import path

from ilara_admin.pages import audit_log, find, overview, player

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("players/<uuid:player_id>/", player.player_detail, name="player_detail"),
    path("find/", find.find, name="find"),
    path("audit/", audit_log.audit_list, name="audit_list"),
]
