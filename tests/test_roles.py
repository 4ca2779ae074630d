"""The roles that may open each page, as a table. Every page is requested, by members of the project
and by those of another one."""

import re
from collections.abc import Callable

import pytest
from django.http.response import HttpResponseBase
from django.test import Client

from ilara_admin.models import Membership, Role, User
from ilara_admin.web.routes import SCOPE
from tests.factories import World
from tests.pages import PAGES, address, ask, text_of

# The lowest role that may open each page. Each role includes the permissions of the previous ones.
TABLE: dict[Role, set[str]] = {
    # Sees everything, with players' e-mails and device ids masked; edits the own account.
    Role.VIEWER: {
        "game_figures", "overview_csv",
        "overview", "find", "audit_list", "audit_entry", "audit_export", "key_list",
        "request_detail",
        "environment_settings", "developers", "reference", "reference_operation",
        "palette", "account", "account_password", "account_identity", "account_security",
        "account_app_add", "account_passkey_add", "account_factor_remove", "second_factor_needed",
        "account_recovery_codes", "account_session_end", "account_sessions_end",
        "player_list", "player_detail", "player_summary", "player_notes", "churn_model",
        "player_segments",
        "player_columns", "player_exports", "player_export_start",
        "player_export_download",  # one's own, masked
        "segment_list", "segment_detail", "segment_size", "segment_members", "segment_lists",
        "flag_list", "flag_list_csv", "flag_detail", "flag_overrides", "flag_revision",
        "flag_compare", "flag_stale_list",
        "request_list",
        "environment_compare", "flag_environment_compare", "segment_environment_compare",
        "saved_view_new", "saved_view_rename", "saved_view_delete",  # one's own
        "event_tail", "event_pending", "event_stream", "event_detail", "event_names", "event_name",
        "event_names_csv", "event_rejected",
        "experiment_list", "experiment_detail", "experiment_csv",
        "group_list",
        "metric_list", "metric_detail",
        "event_rate", "event_download",
        "notification_list", "notification_bell", "notification_open", "notification_read",
        "notification_read_all", "notification_choices",  # one's own
    },
    # Edits players, writes notes, links ids, refunds purchases, sets flag overrides, downloads
    # lists of players.
    Role.SUPPORT: {
        "player_edit", "player_attribute", "player_attributes",
        "player_note_add", "player_bulk_note", "player_note_delete",
        "player_alias_add", "player_alias_remove", "player_refund", "player_refund_reverse",
        "flag_override", "flag_override_remove", "segment_lists_download",
        "audit_undo", "audit_undo_together",  # if the role may make the change that it makes
    },
    # Edits flags, segments and metrics, describes events.
    Role.LIVE_OPS: {
        "player_bulk_list", "segment_new", "segment_edit", "segment_delete", "segment_count",
        "segment_ids_add", "segment_ids_remove", "segment_lists_import", "segment_lists_clear",
        "flag_new", "flag_rules", "flag_rollout", "flag_variants", "flag_review", "flag_impact",
        "flag_save", "flag_details", "flag_overrides_clear", "flag_bulk",
        "flag_move", "flag_prerequisites", "flag_clone", "flag_copy", "segment_copy",
        "flag_restore", "flag_switch", "flag_archive", "flag_keep",
        "event_name_describe",
        "experiment_new", "experiment_edit", "experiment_start", "experiment_stop",
        "experiment_extend", "experiment_decide", "experiment_delete", "experiment_leave",
        "metric_new", "metric_edit", "metric_archive",
        "group_new", "group_edit", "group_delete", "experiment_group",
        # If the role may make each of the changes.
        "request_impact", "request_review", "request_apply", "request_withdraw",
    },
    # Keys, members, settings, personal properties and environments; exports and erases players.
    Role.ADMIN: {
        "player_data_export", "player_erase",
        "key_create", "key_edit", "key_rotate", "key_revoke",
        "staff_list", "staff_new", "staff_add", "staff_member", "staff_remove",
        "staff_invite", "staff_invite_revoke",
        "environment_edit", "environment_new", "project_edit",
        "guard_edit", "freeze_new", "freeze_edit", "freeze_delete",
        "event_property_personal",
        "channel_list", "channel_new", "channel_edit", "channel_test", "channel_remove",
        "delivery_list", "delivery_again",
    },
    # Accounts of the installation, and projects.
    Role.OWNER: {
        "staff_edit", "staff_deactivate", "staff_reactivate", "staff_factors_reset",
        "staff_reset_link", "project_new",
    },
}  # fmt: skip
NEEDED = {name: role for role, names in TABLE.items() for name in names}

# Pages without a role, and their status for anonymous users: GET, POST.
OPEN: dict[str, tuple[int, int]] = {
    "/healthz": (200, 405),
    "/readyz": (200, 405),
    "sign_in": (200, 422),
    "second_factor": (302, 302),  # there is no first step
    "passkey_sign_in": (405, 200),
    "sign_out": (302, 302),
    "reset_request": (404, 404),  # no mail server
    "reset": (404, 404),  # a link that does not work
    "invite": (404, 404),
    "theme": (405, 302),
    "home": (302, 302),
    "components": (200, 405),  # the gallery, routed in DEBUG only
}

GUARDED = sorted(set(PAGES) - set(OPEN))
REACHED = {200, 302, 404, 422}  # 404 only if the URL names an object that does not exist


@pytest.mark.parametrize("name", GUARDED)
def test_every_view__declares_its_role_and_methods(name: str) -> None:
    view = PAGES[name].view
    assert isinstance(getattr(view, "role", None), Role), "decorate it with staff_view"
    assert set(view.methods) <= {"GET", "POST"}


def test_table__lists_every_page() -> None:
    assert sorted(NEEDED) == GUARDED


@pytest.mark.parametrize("name", sorted(set(NEEDED) & set(PAGES)))
def test_view__requires_the_role_of_the_table(name: str) -> None:
    assert PAGES[name].view.role == NEEDED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", GUARDED)
def test_page__opens_for_its_roles_only(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    page = PAGES[name]
    needed = NEEDED[name]
    url, exists = address(page, world)
    for role in world.members:
        client = client_of(role)
        for method in ("GET", "POST", "PUT"):
            status = ask(client, method, url).status_code
            request = f"{method} {url} as {role}: {status}"
            if method not in page.view.methods:
                assert status == 405, request
            elif role.rank < needed.rank:
                assert status == 403, request
            else:
                assert status in REACHED, request
                assert status != 404 or not exists, request


SCOPED = [name for name in GUARDED if PAGES[name].route.startswith(SCOPE)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCOPED)
def test_page_of_another_project__is_404_as_if_it_did_not_exist(
    name: str, world: World, stranger_of: Callable[[Role], Client]
) -> None:
    page = PAGES[name]
    url, _ = address(page, world)
    nowhere = url.replace(f"/{world.environment.project.slug}/", "/nowhere/", 1)
    for role in world.strangers:
        client = stranger_of(role)
        for method in ("GET", "POST", "PUT"):
            found = [ask(client, method, each) for each in (url, nowhere)]
            request = f"{method} {url} as {role} of another project"
            wanted = 404 if method in page.view.methods else 405
            assert [each.status_code for each in found] == [wanted, wanted], request
            assert world.environment.project.name not in comparable(found[0], url), request
            assert comparable(found[0], url) == comparable(found[1], nowhere), request


def comparable(response: HttpResponseBase, url: str) -> str:
    """The page without what differs between two requests."""
    text = text_of(response).replace(url, "")
    return re.sub(r'(nonce|value)="[^"]*"|request <span.*?</span>', "", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(GUARDED) - set(SCOPED)))
def test_page_without_a_project__opens_for_every_account(
    name: str, world: World, stranger_of: Callable[[Role], Client]
) -> None:
    assert NEEDED[name] is Role.VIEWER
    url, _ = address(PAGES[name], world)
    Membership.objects.all().delete()
    response = ask(stranger_of(Role.VIEWER), PAGES[name].view.methods[0], url)
    assert response.status_code in REACHED
    assert world.environment.project.slug not in text_of(response)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUARDED)
def test_anonymous_user__is_redirected_to_sign_in(name: str, world: World, client: Client) -> None:
    url, _ = address(PAGES[name], world)
    for method in ("GET", "POST"):
        response = ask(client, method, url)
        assert response.status_code == 302
        assert response["Location"].startswith("/sign-in/?next=/")


@pytest.mark.slow
@pytest.mark.parametrize("name", GUARDED)
def test_deactivated_user__is_redirected_to_sign_in(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    client = client_of(Role.ADMIN)
    User.objects.filter(pk=world.members[Role.ADMIN].pk).update(is_active=False)
    url, _ = address(PAGES[name], world)
    assert ask(client, "GET", url)["Location"].startswith("/sign-in/?next=/")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCOPED)
def test_unknown_environment__is_404_for_all_roles(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    url, _ = address(PAGES[name], world)
    method = PAGES[name].view.methods[0]
    for role in (Role.VIEWER, Role.OWNER):
        client = client_of(role)
        elsewhere = url.replace(f"/{world.environment.slug}/", "/nowhere/", 1)
        assert ask(client, method, elsewhere).status_code == 404


@pytest.mark.parametrize("name", sorted(set(OPEN) & set(PAGES)))
def test_page_without_a_role__has_the_status_of_the_table(
    name: str, world: World, client: Client
) -> None:
    url, _ = address(PAGES[name], world) if not name.startswith("/") else (name, True)
    assert tuple(ask(client, method, url).status_code for method in ("GET", "POST")) == OPEN[name]
