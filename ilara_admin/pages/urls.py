"""The dashboard's addresses that belong to no app, below /<project>/<environment>/."""

from django.urls import path

from ilara_admin.pages import audit, find, overview

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("find/", find.find, name="find"),
    path("audit/", audit.audit_list, name="audit_list"),
]
