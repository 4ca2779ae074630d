"""The dashboard's addresses of this app, below /<project>/<environment>/players/.

The page of one player also shows flags and segments: ilara_admin/pages/player.py has it.
"""

from django.urls import path

from players import calibration, views

urlpatterns = [
    path("", views.player_list, name="player_list"),
    path("churn/", calibration.churn_model, name="churn_model"),
    path("<uuid:player_id>/edit/", views.player_edit, name="player_edit"),
    path("<uuid:player_id>/undo/<int:entry_id>/", views.player_undo_change, name="player_undo"),
]
