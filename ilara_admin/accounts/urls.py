"""URLs of the sign-in and of the own account."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from ilara_admin.accounts import account, invites, resets
from ilara_admin.accounts.sign_in import SignInView

urlpatterns = [
    path("sign-in/", SignInView.as_view(), name="sign_in"),
    path("sign-out/", LogoutView.as_view(next_page="sign_in"), name="sign_out"),
    path("sign-in/reset/", resets.reset_request, name="reset_request"),
    path("sign-in/reset/<str:token>/", resets.reset, name="reset"),
    path("invite/<str:token>/", invites.invite, name="invite"),
    path("account/", account.account, name="account"),
    path("account/password/", account.account_password, name="account_password"),
]
