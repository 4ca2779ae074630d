"""The dashboard's addresses that belong to no app, below /<project>/<environment>/."""

from django.urls import URLPattern, path

from ilara_admin.pages import developers, keys

urlpatterns: list[URLPattern] = [
    path("keys/", keys.key_list, name="key_list"),
    path("keys/new/", keys.key_create, name="key_create"),
    path("keys/<int:pk>/rotate/", keys.key_rotate, name="key_rotate"),
    path("keys/<int:pk>/revoke/", keys.key_revoke, name="key_revoke"),
    path("developers/", developers.developers, name="developers"),
]
