"""Settings of an environment and its project, and creating both."""

import re

import pytest
from django.core.exceptions import ValidationError

from flags.models import Flag
from ilara_admin.core.projects import environment_fields, environment_update
from ilara_admin.models import AuditEntry, Environment, Project, Role
from ilara_admin.web.access import environments_of
from segments.models import Segment
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_key, make_staff
from tests.pages import HTMX, signed_in, text_of, tone_of, url_of

SAME = {
    "new_days": "7",
    "at_risk_days": "7",
    "churned_days": "30",
    "retention_days": "90",
    "currency": "USD",
}


def test_viewer__sees_the_settings_but_no_buttons(environment: Environment) -> None:
    page = text_of(signed_in(Role.VIEWER).get(url_of(environment, "environment_settings")))
    assert "after 30 days" in page
    assert "kept for 90 days" in page
    assert "Masked" in page
    assert "Enterprise" in page
    assert url_of(environment, "environment_edit") not in page
    assert url_of(environment, "project_new") not in page


def test_environment_of_a_request__is_equal_to_the_stored_one(environment: Environment) -> None:
    names = {"personal_properties": ["nick"], "searchable_attributes": ["a", "b"]}
    environment_update(environment, names, actor=ACTOR)
    stored = Environment.objects.get(pk=environment.pk)
    (found,) = [each for each in environments_of(make_staff()) if each == environment]
    assert environment_fields(found) == environment_fields(stored)
    page = text_of(signed_in(Role.VIEWER).get(url_of(environment, "environment_settings")))
    assert ("a, b" in page, "nick" in page) == (True, True)


def test_settings__are_in_the_navigation_for_every_role(environment: Environment) -> None:
    page = text_of(signed_in(Role.VIEWER).get(url_of(environment, "environment_settings")))
    assert re.search(r'settings/" data-shortcut="g c" aria-current="page"', page)


def test_change__is_stored_audited_and_increments_the_version(environment: Environment) -> None:
    environment.refresh_from_db()
    version = environment.config_version
    data = SAME | {
        "churned_days": "60",
        "currency": "eur",
        "public_keys_restricted": "on",
        "reason": "Slow game",
    }
    response = signed_in().post(url_of(environment, "environment_edit"), data)
    assert response["Location"] == url_of(environment, "environment_settings")
    assert tone_of(response) == "ok"
    environment.refresh_from_db()
    assert (environment.churned_days, environment.currency) == (60, "EUR")
    assert environment.public_keys_restricted
    assert environment.config_version == version + 1
    entry = AuditEntry.objects.get(action="environment.updated")
    assert entry.before == {
        "churned_days": 30, "currency": "USD", "public_keys_restricted": False,
    }  # fmt: skip
    assert entry.after == {"churned_days": 60, "currency": "EUR", "public_keys_restricted": True}
    assert entry.reason == "Slow game"


def test_names__are_sorted_and_limited(environment: Environment) -> None:
    url = url_of(environment, "environment_edit")
    data = SAME | {"personal_attributes": "name\r\n  nick\nname\n\n"}
    signed_in().post(url, data)
    environment.refresh_from_db()
    assert environment.personal_attributes == ["name", "nick"]
    too_many = "\n".join(map(str, range(51)))
    page = text_of(signed_in().post(url, data | {"searchable_attributes": too_many}))
    assert "Use at most 50 names of 1 to 100 characters." in page


def test_restricting_public_keys__is_in_force_on_the_next_request(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    player = api.post(PLAYERS, {"external_id": "a"}).data
    assert api.get(f"{PLAYERS}/{player['id']}").status == 200
    environment_update(environment, {"public_keys_restricted": True}, actor=ACTOR)
    assert api.get(f"{PLAYERS}/{player['id']}").status == 403


def test_saving_without_a_change__keeps_the_version(environment: Environment) -> None:
    environment.refresh_from_db()
    version = environment.config_version
    signed_in().post(url_of(environment, "environment_edit"), SAME)
    environment.refresh_from_db()
    assert environment.config_version == version
    assert not AuditEntry.objects.filter(action="environment.updated").exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"new_days": "0"}, "new_days"),
        ({"new_days": "3651"}, "new_days"),
        ({"at_risk_days": ""}, "at_risk_days"),
        ({"churned_days": "7"}, "churned_days"),
        ({"retention_days": "many"}, "retention_days"),
        ({"currency": "US"}, "currency"),
        ({"currency": "U$D"}, "currency"),
    ],
)
def test_invalid_setting__shows_an_error_at_its_field(
    environment: Environment, wrong: dict[str, str], field: str
) -> None:
    response = signed_in().post(url_of(environment, "environment_edit"), SAME | wrong)
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in text_of(response)
    environment.refresh_from_db()
    assert (environment.churned_days, environment.currency) == (30, "USD")


def test_service__refuses_unknown_settings(environment: Environment) -> None:
    with pytest.raises(ValueError, match="namespace"):
        environment_update(environment, {"namespace": "x"}, actor=ACTOR)
    with pytest.raises(ValidationError):
        environment_update(environment, {"retention_days": 0}, actor=ACTOR)


def test_service__keeps_concurrent_changes(environment: Environment) -> None:
    stale = Environment.objects.select_related("project").get(pk=environment.pk)
    environment_update(environment, {"currency": "EUR"}, actor=ACTOR)
    environment_update(stale, {"new_days": 3}, actor=ACTOR)
    fresh = Environment.objects.get(pk=environment.pk)
    assert (fresh.currency, fresh.new_days) == ("EUR", 3)


# --- The project ----------------------------------------------------------------------------------


def test_project__is_renamed_and_moved_to_another_tier(environment: Environment) -> None:
    data = {"name": "Skyforge", "tier": "growth", "reason": "Launch"}
    response = signed_in().post(url_of(environment, "project_edit"), data)
    assert response.status_code == 302
    project = Project.objects.get(pk=environment.project_id)
    assert (project.name, project.tier) == ("Skyforge", "growth")
    assert AuditEntry.objects.get(action="project.updated").reason == "Launch"


def test_project_without_a_name__is_refused(environment: Environment) -> None:
    response = signed_in().post(url_of(environment, "project_edit"), {"name": " ", "tier": "pro"})
    assert response.status_code == 422


# --- New projects and environments ----------------------------------------------------------------


def test_new_project__has_two_environments_with_the_examples(environment: Environment) -> None:
    data = {"name": "Second", "slug": "second", "tier": "free"}
    response = signed_in(Role.OWNER).post(url_of(environment, "project_new"), data)
    assert response["Location"] == "/second/live/keys/"
    assert tone_of(response) == "ok"
    project = Project.objects.get(slug="second")
    assert [each.slug for each in project.environments.all()] == ["live", "test"]
    for each in project.environments.all():
        assert Flag.objects.filter(environment=each).count() == 2
        assert Segment.objects.filter(environment=each).count() == 1


@pytest.mark.parametrize("slug", ["", "Second", "a b", "-a", "account", "sign-in", "x" * 41])
def test_project_with_an_invalid_slug__is_refused(environment: Environment, slug: str) -> None:
    data = {"name": "Second", "slug": slug, "tier": "free"}
    response = signed_in(Role.OWNER).post(url_of(environment, "project_new"), data, headers=HTMX)
    assert response.status_code == 422
    assert 'id="id_slug_error"' in text_of(response)
    assert Project.objects.count() == 1


def test_new_environment__belongs_to_the_current_project(environment: Environment) -> None:
    client = signed_in()
    response = client.post(url_of(environment, "environment_new"), {"slug": "staging"})
    assert response["Location"] == f"/{environment.project.slug}/staging/keys/"
    created = environment.project.environments.get(slug="staging")
    assert Flag.objects.filter(environment=created).count() == 2
    again = client.post(url_of(environment, "environment_new"), {"slug": "staging"})
    assert again.status_code == 422
    assert "already exists" in text_of(again)


def test_pages__offer_creation_by_role(environment: Environment) -> None:
    """Environments to admins of the project, projects to owners."""
    for role in (Role.LIVE_OPS, Role.ADMIN, Role.OWNER):
        for name in ("key_list", "environment_settings"):
            page = text_of(signed_in(role).get(url_of(environment, name)))
            assert (url_of(environment, "project_new") in page) == (role is Role.OWNER)
            assert (url_of(environment, "environment_new") in page) == (role is not Role.LIVE_OPS)
