"""The pages of staff and their services."""

import re
import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from ilara_admin.core.staff import membership_set, staff_set_password, staff_update
from ilara_admin.models import AuditEntry, Environment, Membership, Role, User
from tests.factories import ACTOR, PASSWORD, make_environment, make_staff
from tests.homes import HANG_SECONDS
from tests.pages import HTMX, message_of, signed_in, text_of, tone_of, url_of

NEW = {"username": "ana", "name": "Ana Reyes", "email": "ana@example.com", "role": "live-ops"}


def sign_in(username: str, password: str) -> int:
    client = Client()
    data = {"username": username, "password": password}
    return client.post(reverse("sign_in"), data).status_code


# --- The list -------------------------------------------------------------------------------------


def test_list__shows_role_state_and_last_sign_in(environment: Environment) -> None:
    tom = make_staff(Role.LIVE_OPS, "tom")
    User.objects.filter(pk=tom.pk).update(is_active=False)
    page = text_of(signed_in().get(url_of(environment, "staff_list")))
    row = next(row for row in page.split("<tr") if ">tom<" in row)
    assert ">Live Ops<" in row
    assert ">Deactivated<" in row
    assert ">never<" in row
    assert "(you)" in page


def test_list__shows_the_permissions_of_roles(environment: Environment) -> None:
    page = text_of(signed_in().get(url_of(environment, "staff_list")))
    row = next(row for row in page.split("<tr") if "rotate and revoke API keys" in row)
    assert re.findall(r">(Yes|No)<", row) == ["No", "No", "No", "Yes", "Yes"]


def test_list__needs_as_many_queries_for_50_accounts_as_for_one(
    environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client, url = signed_in(), url_of(environment, "staff_list")
    client.get(url)  # the first visit stores the environment in the session
    with django_assert_num_queries(5):  # session, user, environments, staff, invites
        client.get(url)
    for _ in range(49):
        make_staff(Role.VIEWER)
    with django_assert_num_queries(5):
        assert text_of(client.get(url)).count("/staff/") > 50


# --- Adding ---------------------------------------------------------------------------------------


def test_new_account__gets_a_password_that_is_shown_once(environment: Environment) -> None:
    admin = signed_in()
    page = text_of(admin.post(url_of(environment, "staff_new"), NEW | {"password": ""}))
    password = re.findall(r'data-copy="([^"]+)"', page)[-1]
    assert len(password) >= 16
    assert sign_in("ana", password) == 302
    user = User.objects.get(username="ana")
    assert (user.get_full_name(), user.email) == ("Ana Reyes", "ana@example.com")
    assert user.roles == {environment.project_id: Role.LIVE_OPS}
    assert password not in text_of(admin.get(url_of(environment, "staff_list")))


def test_chosen_password__is_not_shown(environment: Environment) -> None:
    response = signed_in().post(url_of(environment, "staff_new"), NEW | {"password": PASSWORD})
    assert response["Location"] == url_of(environment, "staff_list")
    assert PASSWORD not in message_of(response)
    assert sign_in("ana", PASSWORD) == 302


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "taken"}, "username"),
        ({"email": "ana"}, "email"),
        ({"role": "root"}, "role"),
        ({"role": "owner"}, "role"),
        ({"password": "short"}, "password"),
        ({"password": "password123"}, "password"),
        ({"username": "ana.reyes.of.porto", "password": "ana.reyes.of.porto"}, "password"),
    ],
)
def test_bad_form__is_shown_again(
    environment: Environment, wrong: dict[str, str], field: str
) -> None:
    make_staff(Role.VIEWER, "taken")
    data = NEW | {"password": ""} | wrong
    count = User.objects.count()
    client = signed_in()
    response = client.post(url_of(environment, "staff_new"), data, headers=HTMX)
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in text_of(response)
    assert User.objects.count() == count + 1  # the signed-in admin


# --- Changing -------------------------------------------------------------------------------------


def test_account__is_changed_and_audited(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    data = {"name": "Tom Okafor", "email": "", "is_owner": "on"}
    response = signed_in(Role.OWNER).post(url_of(environment, "staff_edit", tom.pk), data)
    assert response["Location"] == url_of(environment, "staff_list")
    tom.refresh_from_db()
    assert (tom.is_owner, tom.get_full_name()) == (True, "Tom Okafor")
    entry = AuditEntry.objects.get(action="staff.updated")
    assert entry.before == {"is_owner": False, "name": ""}
    assert entry.after == {"is_owner": True, "name": "Tom Okafor"}
    assert entry.project is None


def test_saving_without_a_change__writes_no_entry(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    owner = signed_in(Role.OWNER)
    owner.post(url_of(environment, "staff_edit", tom.pk), {"name": "", "email": ""})
    owner.post(url_of(environment, "staff_member", tom.pk), {"role": "viewer"})
    assert not AuditEntry.objects.filter(action__startswith="staff.").exclude(
        action="staff.created"
    )


def test_deactivated_account__is_signed_out_and_can_be_reactivated(
    environment: Environment,
) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    his = Client()
    his.force_login(tom)
    keys = url_of(environment, "key_list")
    assert his.get(keys).status_code == 200
    owner = signed_in(Role.OWNER)
    data = {"reason": "Left"}
    owner.post(url_of(environment, "staff_deactivate", tom.pk), data)
    assert his.get(keys)["Location"].startswith("/sign-in/")
    assert sign_in("tom", PASSWORD) == 422
    entry = AuditEntry.objects.get(action="staff.updated")
    assert (entry.after, entry.reason) == ({"is_active": False}, "Left")
    owner.post(url_of(environment, "staff_reactivate", tom.pk))
    assert sign_in("tom", PASSWORD) == 302


def test_deactivating__needs_confirmation(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    page = text_of(signed_in(Role.OWNER).get(url_of(environment, "staff_deactivate", tom.pk)))
    assert "Deactivate tom" in page
    assert "signed out at once" in page
    tom.refresh_from_db()
    assert tom.is_active


def test_reactivating_an_active_account__changes_nothing(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    response = signed_in(Role.OWNER).get(url_of(environment, "staff_reactivate", tom.pk))
    assert response["Location"] == url_of(environment, "staff_list")
    assert tone_of(response) == "ok"


# --- Members of a project -------------------------------------------------------------------------


@pytest.fixture
def elsewhere(environment: Environment) -> Environment:
    return make_environment()


def test_admin__changes_a_role_in_the_project_only(
    environment: Environment, elsewhere: Environment
) -> None:
    tom, admin = make_staff(Role.VIEWER, "tom"), signed_in()
    response = admin.post(url_of(environment, "staff_member", tom.pk), {"role": "support"})
    assert response["Location"] == url_of(environment, "staff_list")
    assert User.objects.get(pk=tom.pk).roles == {
        environment.project_id: Role.SUPPORT, elsewhere.project_id: Role.VIEWER,
    }  # fmt: skip
    entry = AuditEntry.objects.get(action="staff.membership_changed")
    assert (entry.before, entry.after) == ({"role": "viewer"}, {"role": "support"})
    assert (entry.project, entry.environment) == (environment.project, None)


def test_role_that_someone_else_changed__is_a_conflict(environment: Environment) -> None:
    tom, admin = make_staff(Role.VIEWER, "tom"), signed_in()
    url = url_of(environment, "staff_member", tom.pk)
    seen = re.findall(r'name="seen" value="([^"]+)"', text_of(admin.get(url)))[0]
    membership_set(tom, environment.project, Role.LIVE_OPS, actor=ACTOR)
    response = admin.post(url, {"role": "support", "seen": seen})
    assert response.status_code == 409
    assert "live-ops" in text_of(response)


def test_removed_member__sees_the_project_no_longer(
    environment: Environment, elsewhere: Environment
) -> None:
    tom, admin = make_staff(Role.VIEWER, "tom"), signed_in()
    his = Client()
    his.force_login(tom)
    url = url_of(environment, "staff_remove", tom.pk)
    assert "Remove tom from" in text_of(admin.get(url))
    assert his.get(url_of(environment, "flag_list")).status_code == 200
    admin.post(url, {"reason": "Moved"})
    assert his.get(url_of(environment, "flag_list")).status_code == 404
    assert his.get(url_of(elsewhere, "flag_list")).status_code == 200
    entry = AuditEntry.objects.get(action="staff.membership_changed")
    assert (entry.after, entry.reason) == ({"role": None}, "Moved")


def test_admin__adds_an_existing_account(environment: Environment, elsewhere: Environment) -> None:
    admin = signed_in()
    tom = make_staff(Role.VIEWER, "tom", elsewhere.project)
    boss = make_staff(Role.OWNER, "boss")
    url = url_of(environment, "staff_add")
    for username, problem in (("tim", "No staff account “tim”"), ("boss", "boss is owner already")):
        response = admin.post(url, {"username": username, "role": "support"})
        assert response.status_code == 422
        assert problem in text_of(response)
    admin.post(url, {"username": "tom", "role": "support"})
    assert User.objects.get(pk=tom.pk).role_in(environment.project) is Role.SUPPORT
    assert boss.roles == {}


def test_admin__sees_no_members_of_other_projects(
    environment: Environment, elsewhere: Environment
) -> None:
    admin = make_staff(Role.ADMIN, "admin-here", environment.project)
    tom = make_staff(Role.VIEWER, "tom", elsewhere.project)
    make_staff(Role.OWNER, "boss")
    client = Client()
    client.force_login(admin)
    for query in ("", "?show=all"):
        page = text_of(client.get(url_of(environment, "staff_list") + query))
        assert ">tom<" not in page
        assert ">boss<" in page
    for name in ("staff_member", "staff_remove"):
        assert client.get(url_of(environment, name, tom.pk)).status_code == 404
        assert client.post(url_of(environment, name, tom.pk)).status_code == 404
    owner = signed_in(Role.OWNER)
    assert ">tom<" not in text_of(owner.get(url_of(environment, "staff_list")))
    assert ">tom<" in text_of(owner.get(url_of(environment, "staff_list") + "?show=all"))
    assert "Add to the project" in text_of(owner.get(url_of(environment, "staff_member", tom.pk)))


def test_owner__is_no_role_of_a_membership(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER)
    with pytest.raises(ValidationError, match="not a role in a project"):
        membership_set(tom, environment.project, Role.OWNER, actor=ACTOR)
    with pytest.raises(IntegrityError, match="membership_role"):
        Membership.objects.filter(user=tom).update(role=Role.OWNER)


# --- The last owner -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("staff_edit", {"name": "", "email": ""}),
        ("staff_deactivate", {}),
    ],
)
def test_last_owner__cannot_give_up_the_right(
    environment: Environment, name: str, data: dict[str, str]
) -> None:
    last = make_staff(Role.OWNER, "last")
    gone = make_staff(Role.OWNER, "gone")
    User.objects.filter(pk=gone.pk).update(is_active=False)  # does not count
    client = Client()
    client.force_login(last)
    response = client.post(url_of(environment, name, last.pk), data)
    assert response.status_code == 422
    assert "last is the last owner. Make another account an owner first." in text_of(response)
    last.refresh_from_db()
    assert (last.is_owner, last.is_active) == (True, True)
    assert not AuditEntry.objects.filter(action="staff.updated").exists()


def test_last_owner__may_change_everything_else(db: None) -> None:
    last = make_staff(Role.OWNER)
    staff_update(last, name="Ada", email="a@b.example", actor=ACTOR)
    assert last.get_full_name() == "Ada"


@pytest.mark.parametrize(
    ("role", "name", "data"),
    [
        (Role.ADMIN, "staff_member", {"role": "viewer"}),
        (Role.ADMIN, "staff_remove", {}),
        (Role.OWNER, "staff_edit", {"name": "", "email": ""}),
    ],
)
def test_who_gives_up_the_role__is_redirected_to_an_allowed_page(
    environment: Environment, role: Role, name: str, data: dict[str, str]
) -> None:
    make_staff(Role.OWNER)
    me = make_staff(role)
    client = Client()
    client.force_login(me)
    response = client.post(url_of(environment, name, me.pk), data)
    assert client.get(response["Location"]).status_code == 200
    assert "undo" not in str(message_of(response))


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_give_up_at_once__leave_one() -> None:
    """Each still sees the other as an owner until it commits: the service must lock them."""
    owners = [make_staff(Role.OWNER), make_staff(Role.OWNER)]
    start, refused = threading.Barrier(2), []

    def give_up(user: User) -> None:
        try:
            start.wait(timeout=HANG_SECONDS)
            staff_update(user, is_owner=False, actor=ACTOR)
        except ValidationError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=give_up, args=[user]) for user in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    assert len(refused) == 1
    assert User.objects.filter(is_owner=True).count() == 1


# --- Passwords ------------------------------------------------------------------------------------


def test_new_password__is_not_in_the_audit_log(db: None) -> None:
    staff_set_password(make_staff(), password="very secret words", actor=ACTOR)
    assert not [e for e in AuditEntry.objects.values_list() if "very secret" in str(e)]
