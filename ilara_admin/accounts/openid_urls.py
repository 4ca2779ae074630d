"""URLs of OpenID Connect. They exist only if it is configured."""

from django.urls import path

from ilara_admin.accounts import openid_views

urlpatterns = [
    path("sign-in/openid/", openid_views.start, name="openid_start"),
    path("sign-in/openid/callback/", openid_views.callback, name="openid_callback"),
    path("account/openid/", openid_views.account, name="openid_account"),
]
