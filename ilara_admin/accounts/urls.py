"""URLs of the sign-in and of the own account. None of allauth's own pages is routed."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from ilara_admin.accounts import (
    account,
    identity,
    invites,
    resets,
    second_factors,
    second_step,
    sessions,
)
from ilara_admin.accounts.sign_in import SignInView

urlpatterns = [
    path("sign-in/", SignInView.as_view(), name="sign_in"),
    path("sign-in/second-factor/", second_step.second_factor, name="second_factor"),
    path("sign-in/passkey/", second_step.passkey_sign_in, name="passkey_sign_in"),
    path("sign-out/", LogoutView.as_view(next_page="sign_in"), name="sign_out"),
    path("sign-in/reset/", resets.reset_request, name="reset_request"),
    path("sign-in/reset/<str:token>/", resets.reset, name="reset"),
    path("invite/<str:token>/", invites.invite, name="invite"),
    path("account/", account.account, name="account"),
    path("account/password/", account.account_password, name="account_password"),
    path("account/identity/", identity.account_identity, name="account_identity"),
    path(
        "account/second-factor/", second_factors.second_factor_needed, name="second_factor_needed"
    ),
    path("account/security/", second_factors.account_security, name="account_security"),
    path("account/security/app/", second_factors.account_app_add, name="account_app_add"),
    path(
        "account/security/passkey/", second_factors.account_passkey_add, name="account_passkey_add"
    ),
    path(
        "account/security/recovery-codes/",
        second_factors.account_recovery_codes,
        name="account_recovery_codes",
    ),
    path(
        "account/security/factors/<int:pk>/remove/",
        second_factors.account_factor_remove,
        name="account_factor_remove",
    ),
    path("account/sessions/end/", sessions.account_sessions_end, name="account_sessions_end"),
    path(
        "account/sessions/<int:session_id>/end/",
        sessions.account_session_end,
        name="account_session_end",
    ),
]
