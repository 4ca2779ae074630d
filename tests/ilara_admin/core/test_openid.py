"""The settings of OpenID Connect and the roles of claims."""

from typing import Any

import pytest

from ilara_admin.core import openid
from ilara_admin.core.openid import (
    Grants,
    RoleMapping,
    parse_roles,
    read_config,
    roles_from_claims,
    second_factor_used,
)
from ilara_admin.models import Role

GIVEN = {
    "issuer": "https://login.example.com/realms/studio",
    "client_id": "ilara",
    "client_secret": "hush",
    "name": "",
    "roles_claim": "groups",
    "roles": "admins=owner, liveops = my-game:live-ops,liveops=other:viewer,lead=my-game:admin",
    "checks_second_factor": False,
}
NOTHING = dict.fromkeys(GIVEN, "") | {"checks_second_factor": False}


def mapping(text: str, claim: str = "groups") -> RoleMapping:
    return RoleMapping(claim, parse_roles(text))


# --- Settings -------------------------------------------------------------------------------------


def test_roles__are_those_of_the_model() -> None:
    members = [role for role in Role if role != openid.OWNER]
    assert list(openid.ROLES) == members


def test_nothing_set__is_off() -> None:
    assert read_config(**NOTHING) is None  # type: ignore[arg-type]


def test_config__has_the_host_as_name_and_hides_the_secret() -> None:
    config = read_config(**GIVEN)  # type: ignore[arg-type]
    assert config
    assert config.name == "login.example.com"
    assert "hush" not in repr(config)
    assert config.mapping
    assert config.mapping.projects == {"my-game", "other"}
    assert config.mapping.has_owners


@pytest.mark.parametrize(
    ("issuer", "other", "same"),
    [("https://a.example/", "https://a.example", True), ("https://a.example", "https://b", False)],
)
def test_identity__is_the_issuer_without_its_last_slash(
    issuer: str, other: str, same: bool
) -> None:
    first, second = (read_config(**GIVEN | {"issuer": each}) for each in (issuer, other))  # type: ignore[arg-type]
    assert first
    assert second
    assert (first.identity == second.identity) is same


WRONG: list[tuple[dict[str, Any], str, str]] = [
    (NOTHING | {"name": "Studio"}, "ILARA_OIDC_NAME is set without", "set the provider's URL"),
    (NOTHING | {"checks_second_factor": True}, "ILARA_OIDC_SECOND_FACTOR is", "set the provider's"),
    (GIVEN | {"client_id": ""}, "ILARA_OIDC_CLIENT_ID is not set", "registered as a client"),
    (GIVEN | {"client_secret": ""}, "ILARA_OIDC_CLIENT_SECRET is not set", "registered"),
    (GIVEN | {"roles": ""}, "ROLES_CLAIM needs ILARA_OIDC_ROLES:", "studio-admins=owner"),
    (GIVEN | {"roles_claim": ""}, "ILARA_OIDC_ROLES needs ILARA_OIDC_ROLES_CLAIM", "as groups"),
    (GIVEN | {"issuer": "login.example.com"}, "ILARA_OIDC_ISSUER is not a URL", "https://"),
    (GIVEN | {"issuer": "https://[::1"}, "ILARA_OIDC_ISSUER is not a URL", "https://"),
    (GIVEN | {"issuer": "http://login.example.com"}, "is not encrypted", "https://"),
    (GIVEN | {"issuer": "http://127.0.0.1.example.com"}, "is not encrypted", "https://"),
    (GIVEN | {"issuer": "https://a.example/?x=1"}, "has a query", "the part before"),
    (GIVEN | {"issuer": "https://me:pw@a.example"}, "a user name", "the part before"),
    (GIVEN | {"issuer": f"https://a.example/{'a' * 200}"}, "more than 200", "the part before"),
]


@pytest.mark.parametrize(("values", "problem", "fix"), WRONG)
def test_settings_that_do_not_fit__name_the_setting_and_the_fix(
    values: dict[str, Any], problem: str, fix: str
) -> None:
    with pytest.raises(ValueError, match="ILARA_OIDC_") as caught:
        read_config(**values)
    assert problem in str(caught.value)
    assert fix in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "issuer", ["http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1/realms/x"]
)
def test_http__is_allowed_on_this_machine(issuer: str) -> None:
    assert read_config(**GIVEN | {"issuer": issuer})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("admins", "has no value or no role"),
        ("=owner", "has no value or no role"),
        ("admins=", "has no value or no role"),
        ("admins=admin", "names no project"),
        ("admins=boss", "has the unknown role “boss”"),
        ("admins=my-game:boss", "has the unknown role “boss”"),
        ("admins=my-game:owner", "has an owner of one project; owners have"),
        ("admins=My game:admin", "has no valid project"),
        ("admins=:admin", "has no valid project"),
    ],
)
def test_wrong_entry__is_named_with_the_fix(entry: str, problem: str) -> None:
    with pytest.raises(ValueError, match="ILARA_OIDC_ROLES: ") as caught:
        parse_roles(f"fine=owner,{entry},also=a:viewer")
    assert f"“{entry}” {problem}" in str(caught.value)
    assert "Write value=owner or value=project:role" in str(caught.value)


# --- Claims ---------------------------------------------------------------------------------------

SHARED = "boss=owner,ops=a:live-ops,ops=b:viewer,lead=a:admin,cn=x=c:support,a b=c:viewer"


@pytest.mark.parametrize(
    ("claims", "owner", "roles"),
    [
        ({}, False, {}),
        ({"groups": None}, False, {}),
        ({"groups": {"ops": True}}, False, {}),
        ({"groups": 7}, False, {}),
        ({"groups": []}, False, {}),
        ({"groups": ["OPS", "opsx", 1, None, ["ops"]]}, False, {}),
        ({"groups": "ops"}, False, {"a": "live-ops", "b": "viewer"}),
        ({"groups": "ops lead"}, False, {}),
        ({"groups": "a b"}, False, {"c": "viewer"}),
        ({"groups": ["ops"]}, False, {"a": "live-ops", "b": "viewer"}),
        ({"groups": ["lead", "ops"]}, False, {"a": "admin", "b": "viewer"}),
        ({"groups": ["ops", "lead"]}, False, {"a": "admin", "b": "viewer"}),
        ({"groups": ["cn=x"]}, False, {"c": "support"}),
        ({"groups": ["boss"]}, True, {}),
        ({"groups": ["boss", "lead"]}, True, {"a": "admin"}),
    ],
)
def test_claims__give_roles(claims: dict[str, Any], owner: bool, roles: dict[str, str]) -> None:
    found = roles_from_claims(claims, mapping(SHARED))
    assert found == Grants(owner, roles)
    assert bool(found) is bool(owner or roles)


def test_claim_in_an_object__is_found_by_its_path() -> None:
    inner = mapping("ops=a:viewer", "realm_access.roles")
    assert roles_from_claims({"realm_access": {"roles": ["ops"]}}, inner).roles == {"a": "viewer"}
    assert not roles_from_claims({"realm_access": ["ops"]}, inner)
    named = {"realm_access.roles": [], "realm_access": {"roles": ["ops"]}}
    assert not roles_from_claims(named, inner), "a claim of this very name comes first"


def test_no_mapping__gives_nothing() -> None:
    assert not roles_from_claims({"groups": ["boss"]}, None)


@pytest.mark.parametrize(
    ("claims", "used"),
    [
        ({"amr": ["pwd", "mfa"]}, True),
        ({"amr": ["pwd"]}, False),
        ({"amr": "mfa"}, True),
        ({}, False),
    ],
)
def test_second_factor__is_what_amr_says(claims: dict[str, Any], used: bool) -> None:
    assert second_factor_used(claims) is used
