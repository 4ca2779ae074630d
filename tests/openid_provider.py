"""A small OpenID provider in a thread. It checks what a real one checks: client and secret, the
address to return to, PKCE, and that a code is used once. Everybody is signed in and consents."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT_ID, CLIENT_SECRET = "ilara", "a secret: & 100 %"
MINUTES_5 = 300  # seconds


@dataclass
class Key:
    """A signing key. `key_id` is what the provider publishes it as."""

    key_id: str
    algorithm: str = "RS256"
    private: Any = None

    def __post_init__(self) -> None:
        if self.private is None:
            is_rsa = self.algorithm == "RS256"
            self.private = (
                rsa.generate_private_key(65537, 2048)
                if is_rsa
                else ec.generate_private_key(ec.SECP256R1())
            )

    @property
    def published(self) -> dict[str, Any]:
        kind = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        public: dict[str, Any] = kind.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.key_id, "use": "sig"}


@dataclass
class Grant:
    """What a code stands for."""

    redirect_uri: str
    challenge: str
    nonce: str | None


@dataclass
class OpenIdServer:
    """The provider. Tests set what it says and what it does wrong."""

    issuer: str = ""
    # About the person, in the ID token and in the userinfo.
    person: dict[str, Any] = field(default_factory=dict)
    # Replace claims of the ID token, or of the userinfo; None removes one.
    token_claims: dict[str, Any] = field(default_factory=dict)
    userinfo_claims: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)  # replaces entries of the discovery
    error: str = ""  # the answer of the authorization endpoint, such as access_denied
    broken: str = ""  # the path of an endpoint that answers 500
    published: list[Key] = field(default_factory=list)
    signing: Key | None = None
    algorithm: str = ""  # replaces that of the key
    forge: bool = False  # replaces the end of the signature
    asked: list[str] = field(default_factory=list)  # paths of the requests
    sent: dict[str, str] = field(default_factory=dict)  # parameters of the last authorization
    codes: dict[str, Grant] = field(default_factory=dict)

    def reset(self, **person: Any) -> None:
        """Behave well again, about this person."""
        self.person = person
        self.token_claims, self.userinfo_claims, self.document = {}, {}, {}
        self.error = self.broken = self.algorithm = ""
        self.forge = False
        self.signing = self.published[0]
        self.asked.clear()

    def discovery(self) -> dict[str, Any]:
        endpoints = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{name.partition('_')[0]}" for name in endpoints},
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "scopes_supported": ["openid", "profile", "email", "groups"],
            **self.document,
        }

    def authorize(self, query: dict[str, str]) -> str:
        """The address to send the browser back to."""
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"].endswith("/sign-in/openid/callback/")
        self.sent = query
        answer = {"state": query["state"]}
        if self.error:
            answer["error"] = self.error
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self.codes[answer["code"]] = Grant(
                query["redirect_uri"], query["code_challenge"], query.get("nonce")
            )
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        grant = self.codes.pop(form.get("code", ""), None)
        if grant is None or form["redirect_uri"] != grant.redirect_uri:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != grant.challenge:
            return None
        if (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return None
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + MINUTES_5,
            "nonce": grant.nonce,
            **self.person,
            **self.token_claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.signing
        assert key
        signed = jwt.encode(
            claims,
            key.private if self.algorithm != "none" else "",
            self.algorithm or key.algorithm,
            {"kid": key.key_id},
        )
        if self.forge:
            signed = signed[:-8] + ("AAAAAAAA" if signed[-8:] != "AAAAAAAA" else "BBBBBBBB")
        return {"access_token": "access", "token_type": "Bearer", "id_token": signed}

    def userinfo(self) -> dict[str, Any]:
        claims = {**self.person, **self.userinfo_claims}
        return {name: value for name, value in claims.items() if value is not None}


def _handler_of(provider: OpenIdServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if self._starts(parts.path):
                return
            match parts.path:
                case "/authorization":
                    self.send_response(302)
                    query = dict(parse_qsl(parts.query))
                    self.send_header("Location", provider.authorize(query))
                    self.end_headers()
                case "/.well-known/openid-configuration":
                    self._answer(provider.discovery())
                case "/moved/.well-known/openid-configuration":
                    self.send_response(302)
                    self.send_header("Location", "/.well-known/openid-configuration")
                    self.end_headers()
                case "/keys":
                    self._answer({"keys": [key.published for key in provider.published]})
                case "/userinfo":
                    allowed = self.headers["Authorization"] == "Bearer access"
                    self._answer(provider.userinfo() if allowed else {}, 200 if allowed else 401)
                case _:
                    self._answer({}, 404)

        def do_POST(self) -> None:
            if self._starts(self.path):
                return
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = provider.token(dict(parse_qsl(body)))
            self._answer(found or {"error": "invalid_grant"}, 200 if found else 400)

        def _starts(self, path: str) -> bool:
            provider.asked.append(path)
            if path == provider.broken:
                self._answer({}, 500)
            return path == provider.broken

        def _answer(self, document: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def running_provider() -> Iterator[OpenIdServer]:
    provider = OpenIdServer(published=[Key("first")])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(provider))
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider.reset()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
