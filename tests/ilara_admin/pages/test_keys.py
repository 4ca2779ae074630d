"""The pages of API keys: list, issue, rotate, revoke, with and without htmx."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from ilara_admin.core.api_keys import api_key_revoke, api_key_rotate, api_key_update
from ilara_admin.models import ApiKey, AuditEntry, Environment, KeyKind, Role
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_key
from tests.pages import HTMX, message_of, signed_in, squeezed, text_of, tone_of, url_of

TOKEN = re.compile(r"[ps]k_live_[0-9A-Za-z]{36}")
NEW = {"name": "iOS client", "kind": "public", "expires": "", "scopes": ["read", "track"]}


def row_of(page: str, key: ApiKey) -> str:
    return next(row for row in page.split("<tr") if key.masked in row)


# --- The list -------------------------------------------------------------------------------------


def test_list__shows_kind_and_state_of_each_key(environment: Environment) -> None:
    now = timezone.now()
    active = make_key(environment).key
    expiring = make_key(environment, expires_in=timedelta(days=3)).key
    expired = make_key(environment, KeyKind.SECRET).key
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=now - timedelta(days=1))
    revoked = api_key_revoke(make_key(environment).key, actor=ACTOR)
    page = text_of(signed_in().get(url_of(environment, "key_list")))
    assert ">Active<" in row_of(page, active)
    assert re.search(r"Expires <time[^>]*>in 3 d<", row_of(page, expiring))
    assert ">Expired<" in row_of(page, expired)
    assert ">Secret<" in row_of(page, expired)
    assert ">Revoked<" in row_of(page, revoked)
    assert ">never<" in row_of(page, active)
    assert "by Ada" in row_of(page, active)


@pytest.mark.parametrize(
    ("shown", "seen"), [("", "ab"), ("usable", "a"), ("ended", "b"), ("nonsense", "ab")]
)
def test_tabs__filter_by_state(environment: Environment, shown: str, seen: str) -> None:
    keys = {"a": make_key(environment).key, "b": make_key(environment).key}
    api_key_revoke(keys["b"], actor=ACTOR)
    page = text_of(signed_in().get(url_of(environment, "key_list"), {"show": shown}))
    assert [name for name, key in keys.items() if key.masked in page] == list(seen)


def test_keys_of_another_environment__are_not_listed(environment: Environment) -> None:
    other = make_key(environment.project.environments.get(slug="test")).key
    assert other.masked not in text_of(signed_in().get(url_of(environment, "key_list")))


def test_list_without_keys__links_to_the_form(environment: Environment) -> None:
    url = url_of(environment, "key_list")
    assert text_of(signed_in().get(url)).count(url_of(environment, "key_create")) > 2
    page = text_of(signed_in(Role.VIEWER).get(url))
    assert url_of(environment, "key_create") not in page
    assert "An admin can create one" in page


def test_viewer__sees_keys_but_no_buttons(environment: Environment) -> None:
    key = make_key(environment).key
    page = text_of(signed_in(Role.VIEWER).get(url_of(environment, "key_list")))
    assert key.masked in page
    assert url_of(environment, "key_revoke", key.pk) not in page


def test_htmx__receives_the_results_only(environment: Environment) -> None:
    page = text_of(signed_in().get(url_of(environment, "key_list"), headers=HTMX))
    assert page.strip().startswith('<div class="stack" id="results">')
    assert "<html" not in page


def test_list__needs_as_many_queries_for_50_keys_as_for_one(
    environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client, url = signed_in(), url_of(environment, "key_list")
    make_key(environment)
    client.get(url)  # the first visit stores the environment in the session
    with django_assert_num_queries(4):  # session, user, environments, keys
        client.get(url)
    for _ in range(49):
        make_key(environment)
    with django_assert_num_queries(4):
        assert text_of(client.get(url)).count("<tr") == 51


def test_more_keys_than_a_page__have_a_next_link(environment: Environment) -> None:
    client, url = signed_in(), url_of(environment, "key_list")
    keys = [make_key(environment).key for _ in range(51)]
    first = text_of(client.get(url))
    found = re.search(r'rel="next" href="([^"]+)"', first)
    assert found
    assert keys[0].masked not in first
    assert keys[0].masked in text_of(client.get(found[1].replace("&amp;", "&")))


# --- Issuing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["public", "secret"])
def test_new_key__is_shown_once_and_its_curl_command_works(
    environment: Environment, kind: str
) -> None:
    client = signed_in()
    response = client.post(url_of(environment, "key_create"), NEW | {"kind": kind})
    page = text_of(response)
    token = TOKEN.findall(page)[0]
    assert f'data-copy="{token}"' in page
    assert "http://testserver/v1/players/players" in page
    assert f"X-API-Key: {token}" in page
    body = {"external_id": "player_123", "attributes": {"level": 45}}
    assert Api(token).post(PLAYERS, body).status == 201
    assert token not in text_of(client.get(url_of(environment, "key_list")))
    key = environment.api_keys.get()
    assert (key.name, key.kind, key.expires_at) == ("iOS client", kind, None)


def test_curl_command__has_the_host_of_the_request(environment: Environment) -> None:
    client = signed_in(headers={"host": "localhost:18082"})
    assert "http://localhost:18082/v1/" in text_of(
        client.post(url_of(environment, "key_create"), NEW)
    )


def test_expiry__is_as_chosen(environment: Environment) -> None:
    signed_in().post(url_of(environment, "key_create"), NEW | {"expires": "30"})
    expires_at = environment.api_keys.get().expires_at
    assert expires_at is not None
    assert abs(expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"kind": "root"}, "kind"),
        ({"expires": "2"}, "expires"),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_invalid_form__is_shown_again_with_the_error(
    environment: Environment, wrong: dict[str, str], field: str, headers: dict[str, str]
) -> None:
    url = url_of(environment, "key_create")
    response = signed_in().post(url, NEW | wrong, headers=headers)
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in text_of(response)
    assert ("<html" in text_of(response)) == (not headers)
    assert not environment.api_keys.exists()


def test_form_sent_twice__creates_one_key(environment: Environment) -> None:
    """Reloading the page with the token sends the form again."""
    client = Client(enforce_csrf_checks=True)
    client.cookies = signed_in().cookies
    url = url_of(environment, "key_create")
    found = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', text_of(client.get(url)))
    data = NEW | {"csrfmiddlewaretoken": found[-1]}
    assert TOKEN.search(text_of(client.post(url, data)))
    again = client.post(url, data)
    assert again.status_code == 302
    assert again["Location"] == url_of(environment, "key_list")
    assert tone_of(again) == "info"
    assert environment.api_keys.count() == 1
    fresh = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', text_of(client.get(url)))
    assert client.post(url, NEW | {"csrfmiddlewaretoken": fresh[-1]}).status_code == 200
    assert environment.api_keys.count() == 2


def test_dialog__has_the_form_and_the_response_replaces_the_page(
    environment: Environment,
) -> None:
    client, url = signed_in(), url_of(environment, "key_create")
    form = text_of(client.get(url, headers=HTMX))
    assert "<html" not in form
    assert f'hx-post="{url}"' in form
    response = client.post(url, NEW, headers=HTMX)
    assert response["HX-Retarget"] == "body"
    assert TOKEN.search(text_of(response))


def test_form_as_a_page__is_sent_without_htmx(environment: Environment) -> None:
    """Without a dialog, htmx has no place for the response."""
    make_key(environment)
    client = signed_in()
    for url in (
        url_of(environment, "key_create"),
        url_of(environment, "key_revoke", environment.api_keys.get().pk),
    ):
        assert "hx-post" not in text_of(client.get(url))


# --- Rotating -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0, 1, 24, 168])
def test_rotation__issues_a_key_and_the_old_one_expires_after_the_grace_period(
    environment: Environment, hours: int
) -> None:
    old = make_key(environment)
    url = url_of(environment, "key_rotate", old.key.pk)
    response = signed_in().post(url, {"grace": str(hours), "reason": "Lost laptop"})
    token = TOKEN.findall(text_of(response))[0]
    assert Api(token).post(PLAYERS, {"external_id": "a"}).status == 201
    assert (Api(old.token).post(PLAYERS, {"external_id": "a"}).status == 200) == (hours > 0)
    old.key.refresh_from_db()
    assert old.key.expires_at is not None
    ends_in = old.key.expires_at - timezone.now()
    assert abs(ends_in - timedelta(hours=hours)) < timedelta(minutes=1)
    assert AuditEntry.objects.get(action="api_key.rotated").reason == "Lost laptop"


def test_rotation__shows_when_the_key_was_last_used(environment: Environment) -> None:
    key = make_key(environment).key
    url = url_of(environment, "key_rotate", key.pk)
    assert "has never been used" in text_of(signed_in().get(url))
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(hours=5))
    assert "was last used 5 h ago" in text_of(signed_in().get(url))


@pytest.mark.parametrize("grace", ["", "2", "soon"])
def test_rotation_with_an_invalid_grace_period__is_refused(
    environment: Environment, grace: str
) -> None:
    key = make_key(environment).key
    response = signed_in().post(url_of(environment, "key_rotate", key.pk), {"grace": grace})
    assert response.status_code == 422
    assert environment.api_keys.count() == 1


@pytest.mark.parametrize("method", ["get", "post"])
def test_rotation_of_a_revoked_key__redirects_to_the_list(
    environment: Environment, method: str
) -> None:
    key = api_key_revoke(make_key(environment).key, actor=ACTOR)
    url = url_of(environment, "key_rotate", key.pk)
    response = getattr(signed_in(), method)(url, {"grace": "0"})
    assert response["Location"] == url_of(environment, "key_list")
    assert tone_of(response) == "info"


# --- Revoking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"), [(KeyKind.PUBLIC, "every game build"), (KeyKind.SECRET, "every server")]
)
def test_revoking__shows_what_stops_working(
    environment: Environment, kind: KeyKind, text: str
) -> None:
    key = make_key(environment, kind).key
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(minutes=3))
    page = text_of(signed_in().get(url_of(environment, "key_revoke", key.pk)))
    assert text in page
    assert key.masked in page
    assert "was last used 3 min ago" in page
    assert 'data-arms="Test"' in page


def test_old_last_use__is_a_date(environment: Environment) -> None:
    key = make_key(environment).key
    last = timezone.now() - timedelta(days=60)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=last)
    page = text_of(signed_in().get(url_of(environment, "key_revoke", key.pk)))
    assert f"was last used on {last.day} {last:%b %Y}" in page


@pytest.mark.parametrize("typed", ["", "test", "Tes"])
def test_wrong_name__revokes_nothing(environment: Environment, typed: str) -> None:
    new = make_key(environment)
    url = url_of(environment, "key_revoke", new.key.pk)
    response = signed_in().post(url, {"typed": typed})
    assert response.status_code == 422
    assert "Nothing was revoked" in text_of(response)
    assert Api(new.token).post(PLAYERS, {"external_id": "a"}).status == 201


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_revoked_key__is_refused_on_the_next_request(
    environment: Environment, headers: dict[str, str]
) -> None:
    new = make_key(environment)
    assert Api(new.token).post(PLAYERS, {"external_id": "a"}).status == 201
    url = url_of(environment, "key_revoke", new.key.pk)
    data = {"typed": " Test ", "reason": "Leaked"}
    response = signed_in().post(url, data, headers=headers)
    assert response.headers["HX-Redirect" if headers else "Location"].endswith("/live/keys/")
    assert Api(new.token).post(PLAYERS, {"external_id": "a"}).status == 401
    entry = AuditEntry.objects.get(action="api_key.revoked")
    assert (entry.reason, entry.object_id) == ("Leaked", str(new.key.pk))


def test_revoking_twice__redirects_to_the_list(environment: Environment) -> None:
    key = api_key_revoke(make_key(environment).key, actor=ACTOR)
    response = signed_in().post(url_of(environment, "key_revoke", key.pk), {"typed": "Test"})
    assert response.status_code == 302
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_name_with_markup__is_escaped(environment: Environment) -> None:
    client, name = signed_in(), '<b>"x"</b>'
    issued = client.post(url_of(environment, "key_create"), NEW | {"name": name})
    key = environment.api_keys.get()
    pages = [
        text_of(issued),
        text_of(client.get(url_of(environment, "key_list"))),
        text_of(client.get(url_of(environment, "key_revoke", key.pk))),
        text_of(client.get(url_of(environment, "key_rotate", key.pk))),
    ]
    assert not [page for page in pages if name in page]


# --- Scopes, networks and last use ----------------------------------------------------------------


def test_secret_key__gets_the_chosen_scopes_and_networks(environment: Environment) -> None:
    networks = "\r\n10.0.0.0/8\r\n\r\n2001:DB8::1\r\n"
    new = NEW | {"kind": "secret", "networks": networks}
    page = text_of(signed_in().post(url_of(environment, "key_create"), new))
    assert "Scopes: read, track." in page
    key = environment.api_keys.get()
    assert (key.scopes, key.networks) == (["read", "track"], ["10.0.0.0/8", "2001:db8::1"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scopes": []}, "Choose at least one scope"),
        ({"networks": "10.0.0.0/8\n\n10.0.0.300"}, "Line 3: “10.0.0.300” is no address"),
        ({"networks": "10.0.0.1/8"}, "Line 1: “10.0.0.1/8” is an address within a network"),
        ({"networks": "\n".join(f"10.0.0.{n}" for n in range(51))}, "at most 50 networks"),
    ],
)
def test_wrong_scopes_or_networks__are_refused(
    environment: Environment, wrong: dict[str, Any], message: str
) -> None:
    new = NEW | {"kind": "secret"} | wrong
    response = signed_in().post(url_of(environment, "key_create"), new)
    assert response.status_code == 422
    assert message in text_of(response)
    assert not environment.api_keys.exists()


def test_form__says_what_public_keys_may_do_now(environment: Environment) -> None:
    client, url = signed_in(), url_of(environment, "key_create")
    page = text_of(client.get(url))
    assert "with the e-mail masked" in page
    assert url_of(environment, "environment_edit") in page
    environment.public_keys_read_email = True
    environment.save()
    assert "with the e-mail in full" in text_of(client.get(url))
    environment.public_keys_restricted = True
    environment.save()
    assert "This environment allows nothing else." in text_of(client.get(url))


def test_edit__changes_and_audits_and_can_be_undone(environment: Environment) -> None:
    key = make_key(environment, KeyKind.SECRET).key
    client, url = signed_in(), url_of(environment, "key_edit", key.pk)
    page = text_of(client.get(url))
    boxes = re.findall(r'<input type="checkbox"\s+name="scopes" value="(\w+)"[^>]*checked', page)
    assert boxes == ["read", "track", "evaluate", "personal", "stream"]
    data = {"name": "Server", "scopes": ["read"], "networks": "10.0.0.0/8", "reason": "Less"}
    response = client.post(url, data)
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes, key.networks) == ("Server", ["read"], ["10.0.0.0/8"])
    entry = AuditEntry.objects.all()[0]
    assert (entry.action, entry.reason) == ("api_key.updated", "Less")
    assert entry.before == {
        "name": "Test", "scopes": ["evaluate", "personal", "read", "stream", "track"],
        "networks": [],
    }  # fmt: skip
    shown = text_of(client.get(url_of(environment, "audit_entry", entry.pk)))
    assert "evaluate, personal, read, stream, track" in shown
    client.post(url_of(environment, "audit_undo", entry.pk))
    key.refresh_from_db()
    assert (key.name, key.networks) == ("Test", [])


def test_edit_of_what_another_changed__is_a_conflict(environment: Environment) -> None:
    key = make_key(environment, KeyKind.SECRET).key
    client, url = signed_in(), url_of(environment, "key_edit", key.pk)
    seen = re.search('name="seen" value="([^"]+)"', text_of(client.get(url)))
    assert seen
    api_key_update(key, {"scopes": ["track"]}, actor=ACTOR)
    data = {"name": "Test", "scopes": ["read"], "networks": "", "seen": seen[1]}
    response = client.post(url, data)
    assert response.status_code == 409
    assert ApiKey.objects.get(pk=key.pk).scopes == ["track"]
    renamed = {**data, "name": "New", "scopes": key.scopes}
    assert client.post(url, renamed).status_code == 302
    assert ApiKey.objects.get(pk=key.pk).scopes == ["track"]


def test_public_key__has_no_scopes_to_edit(environment: Environment) -> None:
    key = make_key(environment).key
    client, url = signed_in(), url_of(environment, "key_edit", key.pk)
    assert 'name="scopes"' not in text_of(client.get(url))
    client.post(url, {"name": "New", "networks": "", "scopes": ["manage"]})
    key.refresh_from_db()
    assert (key.name, key.scopes) == ("New", [])


def test_ended_key__cannot_be_edited(environment: Environment) -> None:
    key = api_key_revoke(make_key(environment).key, actor=ACTOR)
    response = signed_in().get(url_of(environment, "key_edit", key.pk))
    assert "expired or is revoked" in message_of(response)
    with pytest.raises(ValidationError, match="expired or is revoked"):
        api_key_update(key, {"name": "x"}, actor=ACTOR)


def test_rotated_key__says_whether_it_is_still_in_use(environment: Environment) -> None:
    networks = ["10.0.0.0/8", "10.1.0.0/16", "::1"]
    options: dict[str, Any] = {"scopes": ["track"], "networks": networks}
    key = make_key(environment, KeyKind.SECRET, **options).key
    client, url = signed_in(), url_of(environment, "key_list")
    used = ApiKey.objects.filter(pk=key.pk)
    used.update(last_used_at=timezone.now(), last_client="game/1", last_address="10.0.0.9")
    assert "Rotated" not in row_of(text_of(client.get(url)), key)
    new = api_key_rotate(key, grace=timedelta(hours=1), actor=ACTOR)
    assert (new.key.scopes, new.key.networks) == (["track"], networks)
    row = squeezed(row_of(text_of(client.get(url)), key))
    assert "not used since" in row
    assert "by game/1 from 10.0.0.9" in row
    assert "track" in row
    assert re.search(r"only from 10.0.0.0/8, 10.1.0.0/16\s+and 1 more", row)
    used.update(last_used_at=timezone.now() + timedelta(seconds=1))
    assert "still in use" in row_of(text_of(client.get(url)), key)
    assert "Rotated" not in row_of(text_of(client.get(url)), new.key)
    api_key_revoke(key, actor=ACTOR)
    assert "Rotated" not in row_of(text_of(client.get(url)), key)
