"""The pages of staff and their services."""

import re
import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from ilara_admin.core.staff import staff_set_password, staff_update
from ilara_admin.models import AuditEntry, Environment, Role, User
from tests.factories import ACTOR, PASSWORD, make_staff
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
    assert re.findall(r">(Yes|No)<", row) == ["No", "No", "No", "Yes"]


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
    assert (user.get_full_name(), user.email, user.role) == (
        "Ana Reyes", "ana@example.com", "live-ops",
    )  # fmt: skip
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


def test_role__is_changed_and_audited(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    data = {"name": "Tom Okafor", "email": "", "role": "support"}
    response = signed_in().post(url_of(environment, "staff_edit", tom.pk), data)
    assert response["Location"] == url_of(environment, "staff_list")
    tom.refresh_from_db()
    assert (tom.role, tom.get_full_name()) == ("support", "Tom Okafor")
    entry = AuditEntry.objects.get(action="staff.updated")
    assert entry.before == {"role": "viewer", "name": ""}
    assert entry.after == {"role": "support", "name": "Tom Okafor"}


def test_saving_without_a_change__writes_no_entry(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    data = {"name": "", "email": "", "role": "viewer"}
    signed_in().post(url_of(environment, "staff_edit", tom.pk), data)
    assert not AuditEntry.objects.filter(action="staff.updated").exists()


def test_deactivated_account__is_signed_out_and_can_be_reactivated(
    environment: Environment,
) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    his = Client()
    his.force_login(tom)
    keys = url_of(environment, "key_list")
    assert his.get(keys).status_code == 200
    admin = signed_in()
    data = {"reason": "Left"}
    admin.post(url_of(environment, "staff_deactivate", tom.pk), data)
    assert his.get(keys)["Location"].startswith("/sign-in/")
    assert sign_in("tom", PASSWORD) == 422
    entry = AuditEntry.objects.get(action="staff.updated")
    assert (entry.after, entry.reason) == ({"is_active": False}, "Left")
    admin.post(url_of(environment, "staff_reactivate", tom.pk))
    assert sign_in("tom", PASSWORD) == 302


def test_deactivating__needs_confirmation(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    page = text_of(signed_in().get(url_of(environment, "staff_deactivate", tom.pk)))
    assert "Deactivate tom" in page
    assert "signed out at once" in page
    tom.refresh_from_db()
    assert tom.is_active


def test_reactivating_an_active_account__changes_nothing(environment: Environment) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    response = signed_in().get(url_of(environment, "staff_reactivate", tom.pk))
    assert response["Location"] == url_of(environment, "staff_list")
    assert tone_of(response) == "ok"


# --- The last admin -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("staff_edit", {"name": "", "email": "", "role": "live-ops"}),
        ("staff_deactivate", {}),
    ],
)
def test_last_admin__cannot_give_up_the_role(
    environment: Environment, name: str, data: dict[str, str]
) -> None:
    last = make_staff(Role.ADMIN, "last")
    gone = make_staff(Role.ADMIN, "gone")
    User.objects.filter(pk=gone.pk).update(is_active=False)  # does not count
    client = Client()
    client.force_login(last)
    response = client.post(url_of(environment, name, last.pk), data)
    assert response.status_code == 422
    assert "last is the last admin. Give another account the role first." in text_of(response)
    last.refresh_from_db()
    assert (last.role, last.is_active) == ("admin", True)
    assert not AuditEntry.objects.filter(action="staff.updated").exists()


def test_last_admin__may_change_everything_else(db: None) -> None:
    last = make_staff(Role.ADMIN)
    staff_update(last, name="Ada", email="a@b.example", actor=ACTOR)
    assert last.get_full_name() == "Ada"


def test_admin_who_gives_up_the_role__is_redirected_to_an_allowed_page(
    environment: Environment,
) -> None:
    make_staff(Role.ADMIN)
    me = make_staff(Role.ADMIN)
    client = Client()
    client.force_login(me)
    data = {"name": "", "email": "", "role": "viewer"}
    response = client.post(url_of(environment, "staff_edit", me.pk), data)
    assert client.get(response["Location"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_give_up_the_role_at_once__leave_one() -> None:
    """Each still sees the other as an admin until it commits: the service must lock them."""
    admins = [make_staff(Role.ADMIN), make_staff(Role.ADMIN)]
    start, refused = threading.Barrier(2), []

    def give_up(user: User) -> None:
        try:
            start.wait(timeout=HANG_SECONDS)
            staff_update(user, role=Role.VIEWER, actor=ACTOR)
        except ValidationError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=give_up, args=[user]) for user in admins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    assert len(refused) == 1
    assert User.objects.filter(role=Role.ADMIN).count() == 1


# --- Passwords ------------------------------------------------------------------------------------


def test_new_password__is_not_in_the_audit_log(db: None) -> None:
    staff_set_password(make_staff(), password="very secret words", actor=ACTOR)
    assert not [e for e in AuditEntry.objects.values_list() if "very secret" in str(e)]
