"""The settings of OpenID Connect, and the roles that a person's claims give."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# As in models.Role, which cannot be imported before the settings are complete.
ROLES = ("viewer", "support", "live-ops", "admin")
OWNER = "owner"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_ISSUER = 200  # characters in allauth's table
SLUG = re.compile(r"[a-z0-9_-]+", re.IGNORECASE)


class Grant(NamedTuple):
    """Who has `value` in the claim gets this role. `project` is a slug, "" for owners."""

    value: str
    project: str
    role: str


@dataclass(frozen=True, slots=True)
class RoleMapping:
    """Roles by the values of a claim."""

    claim: str
    grants: tuple[Grant, ...]

    @property
    def has_owners(self) -> bool:
        return any(grant.role == OWNER for grant in self.grants)

    @property
    def projects(self) -> frozenset[str]:
        """The slugs of the projects whose memberships the mapping decides."""
        return frozenset(grant.project for grant in self.grants if grant.project)


@dataclass(frozen=True, slots=True)
class Grants:
    """What a person's claims give: whether they own the installation, and roles by project."""

    owner: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.owner or bool(self.roles)


@dataclass(frozen=True, slots=True)
class OpenIdConfig:
    """The one provider. `checks_second_factor` says that its second factor replaces ours."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    mapping: RoleMapping | None
    checks_second_factor: bool

    @property
    def identity(self) -> str:
        """Names the provider in the table of linked accounts: a subject of another issuer is
        another person."""
        return self.issuer.rstrip("/")


# --- Settings -------------------------------------------------------------------------------------


def read_config(
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    name: str,
    roles_claim: str,
    roles: str,
    checks_second_factor: bool,
) -> OpenIdConfig | None:
    """The settings ILARA_OIDC_…; None if none is set. Raises ValueError, with the setting and the
    fix, if they do not fit together."""
    others = {
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": client_secret,
        "NAME": name,
        "ROLES_CLAIM": roles_claim,
        "ROLES": roles,
        "SECOND_FACTOR": checks_second_factor,
    }
    if not issuer:
        if given := [f"ILARA_OIDC_{key}" for key, value in others.items() if value]:
            raise ValueError(
                f"{given[0]} is set without ILARA_OIDC_ISSUER: set the provider's URL, such as "
                "https://login.example.com/realms/studio, or remove the other ILARA_OIDC settings."
            )
        return None
    _check_issuer(issuer)
    for key, value in (("CLIENT_ID", client_id), ("CLIENT_SECRET", client_secret)):
        if not value:
            raise ValueError(
                f"ILARA_OIDC_{key} is not set: the provider shows it where Ilara is registered as "
                "a client."
            )
    if bool(roles_claim) != bool(roles):
        missing, given_one = ("ROLES", "ROLES_CLAIM") if roles_claim else ("ROLES_CLAIM", "ROLES")
        raise ValueError(
            f"ILARA_OIDC_{given_one} needs ILARA_OIDC_{missing}: the claim's name, such as groups, "
            "and what its values give, such as studio-admins=owner,liveops=my-game:live-ops."
        )
    mapping = RoleMapping(roles_claim, parse_roles(roles)) if roles_claim else None
    name = name or urlsplit(issuer).hostname or ""
    return OpenIdConfig(issuer, client_id, client_secret, name, mapping, checks_second_factor)


def _check_issuer(issuer: str) -> None:
    problem = ""
    try:
        parts = urlsplit(issuer)
        host = parts.hostname
    except ValueError:
        problem = "is not a URL"
    else:
        if parts.scheme not in ("http", "https") or not host:
            problem = "is not a URL"
        elif not is_secure(issuer):
            problem = "is not encrypted; http is only for this machine"
        elif parts.query or parts.fragment or parts.username:
            problem = "has a query, a fragment or a user name"
        elif len(issuer) > MAX_ISSUER:
            problem = f"has more than {MAX_ISSUER} characters"
    if problem:
        raise ValueError(
            f"ILARA_OIDC_ISSUER {problem}: use the provider's https:// URL, the part before "
            "/.well-known/openid-configuration."
        )


def is_secure(url: str) -> bool:
    """Whether what is sent there is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS)


def parse_roles(text: str) -> tuple[Grant, ...]:
    """The grants in a text such as `admins=owner,liveops=my-game:live-ops`.

    A value may have several entries, and may contain "=": the last one counts. Raises ValueError
    with the entry and the fix.
    """
    entries = [entry.strip() for entry in text.split(",")]
    return tuple(_grant(entry) for entry in entries if entry)


def _grant(entry: str) -> Grant:
    value, _, given = (part.strip() for part in entry.rpartition("="))
    if not value or not given:
        raise _wrong(entry, "has no value or no role")
    if given == OWNER:
        return Grant(value, "", OWNER)
    project, colon, role = (part.strip() for part in given.partition(":"))
    if not colon:
        fix = "names no project" if project in ROLES else f"has the unknown role “{project}”"
        raise _wrong(entry, fix)
    if role == OWNER:
        raise _wrong(entry, "has an owner of one project; owners have every project")
    if role not in ROLES:
        raise _wrong(entry, f"has the unknown role “{role}”")
    if not SLUG.fullmatch(project):
        raise _wrong(entry, "has no valid project: use its slug, as in the dashboard's address")
    return Grant(value, project, role)


def _wrong(entry: str, problem: str) -> ValueError:
    return ValueError(
        f"ILARA_OIDC_ROLES: “{entry}” {problem}. Write value=owner or value=project:role, with the "
        f"role {', '.join(ROLES[:-1])} or {ROLES[-1]}."
    )


# --- Claims ---------------------------------------------------------------------------------------


def roles_from_claims(claims: Mapping[str, Any], mapping: RoleMapping | None) -> Grants:
    """What the claims give. The highest role counts if several are given in a project."""
    if mapping is None:
        return Grants()
    values = _values(claims, mapping.claim)
    given = [grant for grant in mapping.grants if grant.value in values]
    roles: dict[str, str] = {}
    for grant in sorted((each for each in given if each.project), key=_rank):
        roles[grant.project] = grant.role
    return Grants(any(grant.role == OWNER for grant in given), roles)


def _rank(grant: Grant) -> int:
    return ROLES.index(grant.role)


def _values(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """The texts of a claim, which is a list or a single text. `realm_access.roles` is `roles` in
    the object `realm_access`, unless a claim has this very name."""
    found: Any = claims
    for part in [name] if name in claims else name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        return frozenset()
    return frozenset(value for value in found if isinstance(value, str))


def second_factor_used(claims: Mapping[str, Any]) -> bool:
    """Whether the provider says that the person used a second factor (RFC 8176)."""
    return "mfa" in _values(claims, "amr")
