"""The URLs of experiments and guarded rollouts, under /<project>/<environment>/experiments/."""

from django.urls import path

from flags.results import experiment_edit, experiment_views

KEY = "<str:key>"

urlpatterns = [
    path("", experiment_views.experiment_list, name="experiment_list"),
    path("+new/", experiment_edit.experiment_new, name="experiment_new"),
    path(f"{KEY}/", experiment_views.experiment_detail, name="experiment_detail"),
    path(f"{KEY}/edit/", experiment_edit.experiment_edit, name="experiment_edit"),
    path(f"{KEY}/start/", experiment_views.experiment_start, name="experiment_start"),
    path(f"{KEY}/stop/", experiment_views.experiment_stop, name="experiment_stop"),
    path(f"{KEY}/extend/", experiment_views.experiment_extend, name="experiment_extend"),
    path(f"{KEY}/decide/", experiment_views.experiment_decide, name="experiment_decide"),
    path(f"{KEY}/delete/", experiment_views.experiment_delete, name="experiment_delete"),
]
