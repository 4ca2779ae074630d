"""The URLs of experiments and guarded rollouts, under /<project>/<environment>/experiments/."""

from django.urls import path

from flags.results import experiment_edit, experiment_views, group_views

KEY = "<str:key>"

urlpatterns = [
    path("", experiment_views.experiment_list, name="experiment_list"),
    path("+new/", experiment_edit.experiment_new, name="experiment_new"),
    path("+groups/", group_views.group_list, name="group_list"),
    path("+groups/+new/", group_views.group_new, name="group_new"),
    path("+groups/<str:group_key>/edit/", group_views.group_edit, name="group_edit"),
    path("+groups/<str:group_key>/delete/", group_views.group_delete, name="group_delete"),
    path(f"{KEY}/", experiment_views.experiment_detail, name="experiment_detail"),
    path(f"{KEY}/csv/", experiment_views.experiment_csv, name="experiment_csv"),
    path(f"{KEY}/group/", group_views.experiment_group, name="experiment_group"),
    path(f"{KEY}/edit/", experiment_edit.experiment_edit, name="experiment_edit"),
    path(f"{KEY}/start/", experiment_views.experiment_start, name="experiment_start"),
    path(f"{KEY}/stop/", experiment_views.experiment_stop, name="experiment_stop"),
    path(f"{KEY}/leave/", experiment_views.experiment_leave, name="experiment_leave"),
    path(f"{KEY}/extend/", experiment_views.experiment_extend, name="experiment_extend"),
    path(f"{KEY}/decide/", experiment_views.experiment_decide, name="experiment_decide"),
    path(f"{KEY}/delete/", experiment_views.experiment_delete, name="experiment_delete"),
]
