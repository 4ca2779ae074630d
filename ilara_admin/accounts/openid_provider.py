"""The OpenID provider: its documents, its tokens and the claims about a person.

allauth exchanges the code, with state and PKCE. It skips the signature of the ID token, since the
token comes from the provider itself over TLS; it sends no nonce, compares no issuer and prefers
what the userinfo endpoint says. All of this is strict here.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from time import monotonic
from typing import Any

from allauth.core.internal.datakit import parse_bool_safely
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.urls import reverse

from ilara_admin.accounts.openid import provider_config
from ilara_admin.core.openid import OpenIdConfig, is_secure

CACHE_SECONDS = 3600
ALGORITHMS = ("RS256", "ES256")
CLOCK_SECONDS = 30  # how far the provider's clock may differ
MAX_SUBJECT = 191  # characters in allauth's table
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")


class OpenIdInvalid(OAuth2Error):
    """What the provider sent is not acceptable. The text is for the log and has no personal data.

    A subclass of allauth's error, which its views turn into the page of a failed sign-in.
    """


class OpenIdProvider(OpenIDConnectProvider):
    """The provider for one request; `claims` are those about the person, once they are verified."""

    claims: Mapping[str, Any] = {}

    def get_oauth2_adapter(self, request: HttpRequest) -> "OpenIdExchange":
        return OpenIdExchange(request, self.app.provider_id)

    def get_pkce_params(self) -> dict[str, str]:
        """Parameters of the first redirect. The nonce follows from the verifier, which stays in the
        session, so it needs no other place there."""
        parameters: dict[str, str] = super().get_pkce_params()
        return {**parameters, "nonce": nonce_of(parameters["code_verifier"])}

    def get_scope(self) -> list[str]:
        """Some providers give the claim with the roles only for the scope of the same name."""
        config = provider_config()
        known = self.get_oauth2_adapter(self.request).openid_config.get("scopes_supported", [])
        claim = config.mapping.claim if config.mapping else ""
        return ["openid", "profile", "email", *([claim] if claim in known else [])]

    def sociallogin_from_response(
        self, request: HttpRequest, response: Mapping[str, Any]
    ) -> SocialLogin:
        self.claims = response
        return super().sociallogin_from_response(request, {"id_token": response})

    def extract_extra_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {}  # claims are personal data, and needed only during the sign-in


class OpenIdExchange(OpenIDConnectOAuth2Adapter):
    """The requests to the provider in one sign-in."""

    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        return discovered(provider_config())

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("openid_callback"))

    def get_access_token_data(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: Any,
        pkce_code_verifier: str | None = None,
    ) -> Any:
        if not pkce_code_verifier:
            raise OpenIdInvalid("the sign-in has no code verifier")
        self.nonce = nonce_of(pkce_code_verifier)
        return super().get_access_token_data(request, app, client, pkce_code_verifier)

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        config, document = provider_config(), self.openid_config
        claims = verified_claims(kwargs["response"].get("id_token"), config, document, self.nonce)
        about: dict[str, Any] = {}
        if url := document.get("userinfo_endpoint"):
            about = _get(url, {"Authorization": f"Bearer {token.token}"})
            if about.get("sub") != claims["sub"]:
                raise OpenIdInvalid("the userinfo is about another subject than the ID token")
        merged = {**about, **claims}
        merged["email_verified"] = any(
            source.get("email") == merged.get("email")
            and parse_bool_safely(source.get("email_verified"))
            for source in (claims, about)
        )
        return self.get_provider().sociallogin_from_response(request, merged)


def provider_for(request: HttpRequest | None) -> OpenIdProvider:
    config = provider_config()
    app = SocialApp(
        provider=OpenIDConnectProvider.id,
        provider_id=config.identity,
        name=config.name,
        client_id=config.client_id,
        secret=config.client_secret,
        settings={"server_url": _address(config), "oauth_pkce_enabled": True},
    )
    return OpenIdProvider(request, app=app)


def nonce_of(code_verifier: str) -> str:
    return urlsafe_b64encode(sha256(f"nonce {code_verifier}".encode()).digest()).decode()


# --- The provider's documents ---------------------------------------------------------------------

documents: dict[str, tuple[float, dict[str, Any]]] = {}  # by URL: when it was read


def discovered(config: OpenIdConfig) -> dict[str, Any]:
    """The provider's configuration document. Raises RequestException if the provider is away, and
    OpenIdInvalid if the document is not its own."""
    document = _cached(_address(config))
    if str(document.get("issuer", "")).rstrip("/") != config.identity:
        raise OpenIdInvalid("the provider's document names another issuer than ILARA_OIDC_ISSUER")
    for name in ENDPOINTS:
        url = document.get(name)
        if url is None and name == "userinfo_endpoint":
            continue  # optional
        if not isinstance(url, str) or not is_secure(url):
            raise OpenIdInvalid(f"the {name} in the provider's document is no https:// URL")
    return document


def _address(config: OpenIdConfig) -> str:
    return f"{config.identity}/.well-known/openid-configuration"


def _cached(url: str, *, renewed: bool = False) -> dict[str, Any]:
    read_at, document = documents.get(url, (0.0, {}))
    if renewed or not document or monotonic() - read_at > CACHE_SECONDS:
        document = _get(url)
        documents[url] = monotonic(), document
    return document


def _get(url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    with get_adapter().get_requests_session() as session:
        response = session.get(url, headers=headers)
        response.raise_for_status()
        document = response.json()
    if not isinstance(document, dict):
        raise OpenIdInvalid("the provider's document is not a JSON object")
    return document


# --- The ID token ---------------------------------------------------------------------------------


def verified_claims(
    token: Any, config: OpenIdConfig, document: Mapping[str, Any], nonce: str
) -> dict[str, Any]:
    """The claims of an ID token: OpenID Connect Core 1.0, section 3.1.3.7. Raises OpenIdInvalid."""
    import jwt  # 2 MB, needed only by processes that serve such a sign-in

    if not isinstance(token, str):
        raise OpenIdInvalid("the provider sent no ID token")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(jwt.get_unverified_header(token).get("kid"), document["jwks_uri"]),
            algorithms=ALGORITHMS,
            audience=config.client_id,
            issuer=document["issuer"],
            leeway=CLOCK_SECONDS,
            options={"require": ["iss", "aud", "exp", "iat", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise OpenIdInvalid(f"the ID token is not valid: {type(error).__name__}") from error
    if claims.get("azp", config.client_id) != config.client_id:
        raise OpenIdInvalid("the ID token was issued to another client")
    if len(_list(claims["aud"])) > 1 and "azp" not in claims:
        raise OpenIdInvalid("the ID token has several audiences and no azp")
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise OpenIdInvalid("the ID token has another nonce")
    subject = claims["sub"]
    if not (0 < len(subject) <= MAX_SUBJECT and subject.isascii() and subject.isprintable()):
        raise OpenIdInvalid(f"the subject is not 1 to {MAX_SUBJECT} ASCII characters")
    return claims


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _key(key_id: Any, url: str) -> Any:
    """The provider's key with this id. The keys are fetched again if it is not among them:
    providers change their keys."""
    for renewed in (False, True):
        keys = _usable(_cached(url, renewed=renewed))
        if key_id is None and len(keys) == 1:
            return keys[0]
        for key in keys:
            if key.key_id == key_id:
                return key
    raise OpenIdInvalid("the ID token is signed by a key that the provider does not publish")


def _usable(document: dict[str, Any]) -> list[Any]:
    import jwt

    try:
        keys = jwt.PyJWKSet.from_dict(document).keys
    except jwt.PyJWTError:
        return []
    return [key for key in keys if key.public_key_use in (None, "sig")]
