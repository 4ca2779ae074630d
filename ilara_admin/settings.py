"""The only settings module. Whatever differs between machines is an environment variable.

Django's settings keep their names (`DEBUG`); Ilara's start with `ILARA_`. All are described in
`.env.example` and the README.
"""

import math
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from django.contrib.messages import constants as messages
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from ilara_admin.core import logs, openid
from ilara_admin.runtime import embedded_postgres, sizing

env = environ.FileAwareEnv()
BASE_DIR = Path(__file__).resolve().parent.parent
environ.Env.read_env(BASE_DIR / ".env")

# --- Core ---------------------------------------------------------------------------------------

ILARA_HOME = Path(env.str("ILARA_HOME", default=str(BASE_DIR / ".ilara"))).expanduser().absolute()
DATABASE_URL = env.str("DATABASE_URL", default="")
DEBUG = env.bool("DEBUG", default=False)

SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if DATABASE_URL and not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. With DATABASE_URL, every machine needs the same SECRET_KEY: "
            "50 random characters or more, directly or in a file named by SECRET_KEY_FILE."
        )
    SECRET_KEY = embedded_postgres.secret_key(ILARA_HOME)

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
HTTPS = env.bool("ILARA_HTTPS", default=False)
# Further directives of the header Strict-Transport-Security.
HSTS = env.list("ILARA_HSTS", default=[])
if unknown := set(HSTS) - {"includeSubDomains", "preload"}:
    raise ImproperlyConfigured(
        f"ILARA_HSTS has {', '.join(sorted(unknown))}: use includeSubDomains, preload or both, "
        "separated by a comma."
    )
# The number of proxies in front; each appends its client's address to X-Forwarded-For.
PROXIES = env.int("ILARA_PROXIES", default=0)

# Who may read /metrics.
try:
    METRICS_NETWORKS = [
        ip_network(text)
        for text in env.list("ILARA_METRICS_NETWORKS", default=["127.0.0.0/8", "::1"])
    ]
except ValueError as error:
    raise ImproperlyConfigured(
        f"ILARA_METRICS_NETWORKS is not valid: {error}. Use addresses or networks separated by "
        "commas, such as 127.0.0.0/8,::1,10.0.0.0/8."
    ) from None

# Where staff reach the dashboard, for links in messages that no request causes.
ILARA_URL = env.str("ILARA_URL", default="").rstrip("/")
if ILARA_URL and not ILARA_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured("ILARA_URL must begin with https://, as https://ilara.example.com.")

ROOT_URLCONF = "ilara_admin.urls"
WSGI_APPLICATION = "ilara_admin.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# An open event stream occupies a thread. Eight threads stay reserved for other requests.
ILARA_THREADS = env.int("ILARA_THREADS", default=sizing.web_threads(sizing.web_workers()))
MAX_STREAMS = max(ILARA_THREADS - 8, 1)

# --- Apps and middleware ------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",  # for its widget templates, with FORM_RENDERER
    "django_htmx",
    "procrastinate.contrib.django",
    "ilara_admin",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "players",
    "events",
    "segments",
    "flags",
]

MIDDLEWARE = [
    # First, so that no dashboard middleware runs for /v1.
    "ilara_admin.middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "ilara_admin.middleware.LoginMiddleware",
    "ilara_admin.middleware.SessionUseMiddleware",
    "ilara_admin.middleware.TimeZoneMiddleware",
    "ilara_admin.middleware.KnownBrowserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# --- Database -----------------------------------------------------------------------------------


def _database(variable: str, url: str) -> dict[str, Any]:
    if url.partition("://")[0] not in {"postgresql", "postgres"}:
        raise ImproperlyConfigured(f"{variable} must be a postgresql:// URL.")
    try:
        found: dict[str, Any] = env.db_url_config(url)
    except ValueError:
        # The message must not contain the URL or the error: both include the password.
        raise ImproperlyConfigured(
            f"{variable} is not valid: use postgresql://user:password@host:5432/name, with "
            "special characters in the password percent-encoded."
        ) from None
    return found | {"ENGINE": "ilara_admin.core.postgresql"}


if DATABASE_URL:
    DATABASES = {"default": _database("DATABASE_URL", DATABASE_URL)}
else:
    DATABASES = {"default": embedded_postgres.database(ILARA_HOME)}
DATABASES["default"]["CONN_MAX_AGE"] = None
# Otherwise every thread would show an error page after a restart of PostgreSQL.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["OPTIONS"] = {
    # With Django's default, None, the statements of core/db would not be prepared.
    "prepare_threshold": 5,
    # A host that drops packets would block every thread for two minutes.
    "connect_timeout": 5,
    **DATABASES["default"].get("OPTIONS", {}),
}

# What the web processes use instead of DATABASES: a pooler in transaction mode, which keeps nothing
# of a session from one transaction to the next. See ilara_admin.wsgi.
POOLER_URL = env.str("ILARA_POOLER_URL", default="")
POOLED_DATABASE: dict[str, Any] = {}
if POOLER_URL:
    if not DATABASE_URL:
        raise ImproperlyConfigured(
            "ILARA_POOLER_URL needs DATABASE_URL: the direct address of the same database, for "
            "the worker and the commands."
        )
    POOLED_DATABASE = {
        **_database("ILARA_POOLER_URL", POOLER_URL),
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "POOLED": True,
    }
    POOLED_DATABASE["OPTIONS"] = {
        "connect_timeout": 5,
        **POOLED_DATABASE.get("OPTIONS", {}),
        "prepare_threshold": None,
    }

# --- Sign-in ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "ilara_admin.User"
SESSION_ENGINE = "ilara_admin.web.sessions"
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
PASSWORD_RESET_TIMEOUT = 60 * 60  # seconds
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "ilara_admin.core.passwords.ReadableValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "ilara_admin.core.passwords.CommonWithDigitsValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "ilara_admin.core.passwords.ObviousWordsValidator"},
]

# The lowest role that needs a second factor, in any project; empty: none needs one.
ILARA_SECOND_FACTOR = env.str("ILARA_SECOND_FACTOR", default="")
if ILARA_SECOND_FACTOR not in {"", "viewer", "support", "live-ops", "admin", "owner"}:
    raise ImproperlyConfigured(
        f"ILARA_SECOND_FACTOR is {ILARA_SECOND_FACTOR}: use viewer (all staff), support, live-ops, "
        "admin, owner, or leave it empty if no role needs a second factor."
    )

# allauth signs in, in steps, and checks second factors. Its pages are not routed; see accounts/.
ACCOUNT_ADAPTER = "ilara_admin.accounts.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False  # accounts/throttle.py limits, in the database
ACCOUNT_SIGNUP_ENABLED = False
MFA_ADAPTER = "ilara_admin.accounts.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_RATE_LIMITS = {"webauthn_login": "60/m/ip"}  # each one stores a question in a session
MFA_TOTP_TOLERANCE = 1  # also the codes of the previous and the next 30 seconds

# allauth remembers used codes in it, so that none counts twice. All processes share it.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache_entry"}
}

# --- E-mail and channels ------------------------------------------------------------------------


def _mailer(url: str) -> dict[str, Any]:
    try:
        found = env.email_url_config(url)
    except (ValueError, ImproperlyConfigured):
        # The message must not contain the URL, which includes the password.
        raise ImproperlyConfigured(
            "EMAIL_URL is not valid: use smtp+tls://user:password@mail.example.com:587, with "
            "special characters in the password percent-encoded."
        ) from None
    options: dict[str, Any] = {}
    if found["EMAIL_HOST"]:
        use_tls, use_ssl = found.get("EMAIL_USE_TLS", False), found.get("EMAIL_USE_SSL", False)
        options = {
            "host": found["EMAIL_HOST"],
            "port": found["EMAIL_PORT"] or (587 if use_tls else 465 if use_ssl else 25),
            "username": found["EMAIL_HOST_USER"] or "",
            "password": found["EMAIL_HOST_PASSWORD"] or "",
            "use_tls": use_tls,
            "use_ssl": use_ssl,
            "timeout": 10,
        }
    elif found["EMAIL_FILE_PATH"]:  # filemail:///folder, for tests
        options = {"file_path": f"/{found['EMAIL_FILE_PATH']}"}
    return {"BACKEND": found["EMAIL_BACKEND"], "OPTIONS": options}


EMAIL_URL = env.str("EMAIL_URL", default="")
MAILERS = {"default": _mailer(EMAIL_URL)} if EMAIL_URL else {}
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Ilara <ilara@localhost>")

# Hosts of incoming webhooks beside those of Slack and Discord; see core/webhooks.py.
WEBHOOK_HOSTS = env.list("ILARA_WEBHOOK_HOSTS", default=[])

# --- OpenID Connect -----------------------------------------------------------------------------

try:
    OPENID = openid.read_config(
        issuer=env.str("ILARA_OIDC_ISSUER", default=""),
        client_id=env.str("ILARA_OIDC_CLIENT_ID", default=""),
        client_secret=env.str("ILARA_OIDC_CLIENT_SECRET", default=""),
        name=env.str("ILARA_OIDC_NAME", default=""),
        roles_claim=env.str("ILARA_OIDC_ROLES_CLAIM", default=""),
        roles=env.str("ILARA_OIDC_ROLES", default=""),
        checks_second_factor=env.bool("ILARA_OIDC_SECOND_FACTOR", default=False),
    )
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from None
# The provider comes from OPENID, so its app, which imports requests (5 MB), is not installed.
SOCIALACCOUNT_ADAPTER = "ilara_admin.accounts.openid.OpenIdAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"  # only verified addresses are used
SOCIALACCOUNT_REQUESTS_TIMEOUT = 4  # seconds for each request to the provider

# --- Security -----------------------------------------------------------------------------------

SESSION_COOKIE_NAME = "ilara_session"
CSRF_COOKIE_NAME = "ilara_csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = "includeSubDomains" in HSTS
SECURE_HSTS_PRELOAD = "preload" in HSTS
# The first two concern hosts other than Ilara's, so both are off unless ILARA_HSTS names them. The
# last one warns that there is no mail server, which is optional.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "mail.W001"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
CSRF_FAILURE_VIEW = "ilara_admin.pages.errors_and_theme.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "connect-src": [CSP.SELF],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

# --- Static files and templates -----------------------------------------------------------------

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # no collectstatic step
WHITENOISE_AUTOREFRESH = DEBUG

# Tones of the design system; see static/css/tokens.css.
MESSAGE_TAGS = {messages.SUCCESS: "ok", messages.WARNING: "warn", messages.ERROR: "danger"}
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "ilara_admin.web.context_processors.shell",
            ],
            "builtins": ["ilara_admin.templatetags.ilara", "ilara_admin.templatetags.charts"],
        },
    }
]

# --- Logging ------------------------------------------------------------------------------------

LOG_FORMAT = env.str("ILARA_LOG_FORMAT", default=logs.default_format(DATABASE_URL))
if LOG_FORMAT not in {"json", "text"}:
    raise ImproperlyConfigured("ILARA_LOG_FORMAT must be json or text.")
LOGGING = logs.config(env.str("ILARA_LOG_LEVEL", default="WARNING"), as_json=LOG_FORMAT == "json")
# Statements that take longer are logged.
SLOW_QUERY_SECONDS = (env.float("ILARA_SLOW_QUERY_MS", default=0) or math.inf) / 1000
