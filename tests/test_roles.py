"""Who may open which page. The table below is the documentation; every address is walked."""

from collections.abc import Callable

import pytest
from django.test import Client

from ilara_admin.models import Role, User
from tests.factories import World
from tests.pages import PAGES, SCOPE, address, ask

# The least role that may open a page. Each role may do all that the roles before it may.
TABLE: dict[Role, set[str]] = {
    # Looks at everything, with players' e-mails and device ids masked; owns an account.
    Role.VIEWER: {
        "overview", "find", "audit_list", "key_list", "environment_settings", "developers",
        "reference", "reference_operation",
        "account", "account_password",
        "player_list", "player_detail", "player_notes", "churn_model",
        "segment_list", "segment_detail", "segment_size", "segment_members", "segment_lists",
        "flag_list", "flag_detail",
        "event_tail", "event_pending", "event_stream", "event_detail", "event_names", "event_name",
        "event_rejected",
    },
    # Edits players, keeps notes about them, links ids, refunds; gives one of them a flag's value of
    # their own.
    Role.SUPPORT: {
        "player_edit", "player_undo", "player_note_add", "player_note_delete",
        "player_alias_add", "player_alias_remove", "player_refund", "player_refund_reverse",
        "flag_override",
    },
    # Edits flags and segments, and says what events are about.
    Role.LIVE_OPS: {
        "segment_new", "segment_edit", "segment_undo", "segment_delete", "segment_count",
        "segment_ids_add", "segment_ids_remove", "segment_lists_import", "segment_lists_clear",
        "segment_lists_undo",
        "flag_new", "flag_rules", "flag_rollout", "flag_variants", "flag_review", "flag_save",
        "flag_move", "flag_prerequisites", "flag_clone",
        "flag_restore", "flag_switch", "flag_archive",
        "event_name_describe", "event_name_undo",
    },
    # Keys, staff, settings, projects and environments.
    Role.ADMIN: {
        "key_create", "key_rotate", "key_revoke",
        "staff_list", "staff_new", "staff_edit", "staff_password", "staff_deactivate",
        "staff_reactivate",
        "environment_edit", "environment_new", "project_edit", "project_new",
    },
}  # fmt: skip
NEEDED = {name: role for role, names in TABLE.items() for name in names}

# Pages of no role, and what they answer to a stranger: GET, POST.
OPEN: dict[str, tuple[int, int]] = {
    "/healthz": (200, 405),
    "/readyz": (200, 405),
    "sign_in": (200, 422),
    "sign_out": (302, 302),
    "theme": (405, 302),
    "home": (302, 302),
    "components": (200, 405),  # the gallery, routed in DEBUG only
}

GUARDED = sorted(set(PAGES) - set(OPEN))
REACHED = {200, 302, 404, 422}  # 404 only where the address names a thing that the test made up


@pytest.mark.parametrize("name", GUARDED)
def test_every_view__names_its_role_and_its_methods(name: str) -> None:
    view = PAGES[name].view
    assert isinstance(getattr(view, "role", None), Role), "decorate it with staff_view"
    assert set(view.methods) <= {"GET", "POST"}


def test_table__names_every_page() -> None:
    assert sorted(NEEDED) == GUARDED


@pytest.mark.parametrize("name", sorted(set(NEEDED) & set(PAGES)))
def test_view__asks_for_the_role_of_the_table(name: str) -> None:
    assert PAGES[name].view.role == NEEDED[name]


@pytest.mark.parametrize("name", GUARDED)
def test_page__opens_to_its_roles_only(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    page = PAGES[name]
    needed = NEEDED[name]
    url, exists = address(page, world)
    for role in world.members:
        client = client_of(role)
        for method in ("GET", "POST", "PUT"):
            status = ask(client, method, url).status_code
            told = f"{method} {url} as {role}: {status}"
            if method not in page.view.methods:
                assert status == 405, told
            elif role.rank < needed.rank:
                assert status == 403, told
            else:
                assert status in REACHED, told
                assert status != 404 or not exists, told


@pytest.mark.parametrize("name", GUARDED)
def test_stranger__is_sent_to_sign_in(name: str, world: World, client: Client) -> None:
    url, _ = address(PAGES[name], world)
    for method in ("GET", "POST"):
        response = ask(client, method, url)
        assert response.status_code == 302
        assert response["Location"].startswith("/sign-in/?next=/")


@pytest.mark.parametrize("name", GUARDED)
def test_somebody_deactivated__is_a_stranger(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    client = client_of(Role.ADMIN)
    User.objects.filter(pk=world.members[Role.ADMIN].pk).update(is_active=False)
    url, _ = address(PAGES[name], world)
    assert ask(client, "GET", url)["Location"].startswith("/sign-in/?next=/")


@pytest.mark.parametrize("name", [name for name in GUARDED if PAGES[name].route.startswith(SCOPE)])
def test_environment_that_does_not_exist__is_404_to_all(
    name: str, world: World, client_of: Callable[[Role], Client]
) -> None:
    url, _ = address(PAGES[name], world)
    method = PAGES[name].view.methods[0]
    for role in (Role.VIEWER, Role.ADMIN):
        client = client_of(role)
        elsewhere = url.replace(f"/{world.environment.slug}/", "/nowhere/", 1)
        assert ask(client, method, elsewhere).status_code == 404


@pytest.mark.parametrize("name", sorted(set(OPEN) & set(PAGES)))
def test_page_without_a_role__answers_a_stranger_as_told(
    name: str, world: World, client: Client
) -> None:
    url, _ = address(PAGES[name], world) if not name.startswith("/") else (name, True)
    assert tuple(ask(client, method, url).status_code for method in ("GET", "POST")) == OPEN[name]
