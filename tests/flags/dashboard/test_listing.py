"""The list of flags: filters, order, views, CSV, and changes of selected flags."""

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from flags.dashboard.stale import hints
from flags.engine.document import Prerequisite, Ramp, Rule, ScheduleStep, boolean_document
from flags.models import Flag, FlagUsage
from flags.services import flag_create, flag_set_archived
from flags.usage import environment_recount
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role, SavedView
from tests.factories import ACTOR, make_player
from tests.form_fields import fields_of
from tests.pages import message_of, squeezed, text_of, url_of

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def make_flag(environment: Environment, key: str, *rules: Rule, **options: Any) -> Flag:
    enabled = options.pop("enabled", True)
    document = boolean_document(enabled=enabled, rules=rules)
    return flag_create(environment=environment, key=key, document=document, actor=ACTOR, **options)


def rule(**options: Any) -> Rule:
    return Rule(id="r", variant="enabled", **options)


def evaluated(flag: Flag, ago: timedelta, count: int = 1) -> None:
    at = NOW - ago
    hour = at.replace(minute=0, second=0, microsecond=0)
    FlagUsage.objects.create(flag=flag, hour=hour, variant="enabled", count=count, last_at=at)
    environment_recount(flag.environment)


def created(flag: Flag, ago: timedelta) -> Flag:
    Flag.objects.filter(pk=flag.pk).update(created_at=NOW - ago)
    return flag


def listed(client: Client, environment: Environment, query: str) -> list[str]:
    response: Any = client.get(f"{url_of(environment, 'flag_list')}?{query}")
    return [flag.key for flag in response.context["page"].rows]


# --- Filters --------------------------------------------------------------------------------------


@pytest.fixture
def many(environment: Environment) -> None:
    Flag.objects.of(environment).delete()
    make_flag(environment, "plain", owner="Ada", tags=["shop"])
    make_flag(environment, "off", rule(rollout=5_000), enabled=False)
    evaluated(make_flag(environment, "tenth", rule(rollout=10_000), tags=["shop", "ui"]), HOUR)
    steps = (ScheduleStep(NOW + DAY, 100_000),)
    stepped = created(make_flag(environment, "stepped", rule(rollout=0, steps=steps)), 50 * DAY)
    evaluated(stepped, 40 * DAY)
    ramp = Ramp(from_=0, to=100_000, start=NOW - DAY, end=NOW + DAY)
    make_flag(environment, "ramp", rule(ramp=ramp))
    over = Ramp(from_=0, to=100_000, start=NOW - 2 * DAY, end=NOW - DAY)
    created(make_flag(environment, "risen", rule(ramp=over)), 40 * DAY)
    flag_set_archived(make_flag(environment, "gone", owner="Lena"), True, actor=ACTOR)
    yesterday = (NOW - DAY).date()
    evaluated(make_flag(environment, "ended", rule(segment="beta-testers"),
                        expected_end=yesterday), DAY)  # fmt: skip
    evaluated(created(make_flag(environment, "used"), 90 * DAY), DAY)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=on", "ended plain ramp risen stepped tenth used"),
        ("state=off", "off"),
        ("state=archived", "gone"),
        ("state=made-up", "ended off plain ramp risen stepped tenth used"),
        ("rollout=rolling", "ramp tenth"),
        ("rollout=scheduled", "ramp stepped"),
        ("use=never", "off plain ramp risen"),
        ("use=stale", "ended risen stepped"),
        ("tag=shop", "plain tenth"),
        ("tag=shop&tag=ui", "tenth"),
        ("tag=sh", ""),
        ("owner=Ada", "plain"),
        ("owner=Nobody", ""),
        ("segment=beta-testers", "ended"),
        ("tag=shop&rollout=rolling&state=on", "tenth"),
        ("state=archived&owner=Lena", "gone"),
    ],
)
@pytest.mark.usefixtures("many")
def test_filter__finds_its_flags(
    client: Client, environment: Environment, query: str, found: str
) -> None:
    assert listed(client, environment, query) == found.split()


@pytest.mark.usefixtures("many")
def test_stale__finds_the_flags_with_a_hint(environment: Environment) -> None:
    flags = Flag.objects.of(environment)
    hinted = {flag.key for flag in flags.with_evidence(NOW) if hints(flag, NOW)}
    assert {flag.key for flag in flags.stale(NOW)} == hinted


@pytest.mark.usefixtures("many")
def test_filters__are_chips_in_the_url_and_counted(
    client: Client, environment: Environment
) -> None:
    url = url_of(environment, "flag_list")
    text = text_of(client.get(f"{url}?tag=shop&use=never&sort=-changed"))
    assert "8 flags, 1 match" in " ".join(text.split())
    for label, rest in (("Tag: shop", "use=never"), ("Use: Never evaluated", "tag=shop")):
        link = re.search(rf'href="([^"]*)" aria-label="Remove filter {label}"', text)
        assert link, label
        assert f"{rest}&amp;sort=-changed" in link[1]
    assert "8 flags</p>" in squeezed(text_of(client.get(url)))
    assert "1 flag archived</p>" in squeezed(text_of(client.get(f"{url}?state=archived")))


# --- Order ----------------------------------------------------------------------------------------

ORDERS: dict[str, Callable[[Flag], Any]] = {
    "key": lambda flag: flag.key,
    "state": lambda flag: (not flag.enabled, flag.key),
    "owner": lambda flag: (flag.owner, flag.key),
    "evaluated": lambda flag: (flag.last_evaluated_at or NOW - 9999 * DAY, flag.key),
    "changed": lambda flag: (flag.updated_at, flag.key),
}


@pytest.fixture
def hundred(environment: Environment) -> list[Flag]:
    """More than two pages, with many equal values in each column."""
    Flag.objects.of(environment).delete()
    document = {"value_type": "boolean", "variants": [{"key": "only", "value": True}],
                "default": "only", "off": "only", "rules": [], "prerequisites": []}  # fmt: skip
    Flag.objects.bulk_create(
        Flag(
            environment=environment, key=f"f{number * 37 % 120:03}", name="f",
            owner=["", "Ada", "Zoe"][number % 3], document={**document, "enabled": number % 2 == 0},
            updated_at=NOW - timedelta(minutes=number % 7),
        )
        for number in range(120)
    )  # fmt: skip
    for number, flag in enumerate(Flag.objects.of(environment)):
        if number % 3:
            evaluated(flag, (number % 5) * HOUR)
    return list(Flag.objects.of(environment).with_last_evaluated())


@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("column", list(ORDERS))
def test_order__is_right_across_pages_forwards_and_backwards(
    client: Client, environment: Environment, hundred: list[Flag], column: str, direction: str
) -> None:
    wanted = sorted(hundred, key=ORDERS[column], reverse=direction == "-")
    keys, url = [flag.key for flag in wanted], url_of(environment, "flag_list")
    query, pages = f"?sort={direction}{column}&state=", []
    while query:
        response: Any = client.get(url + query)
        page = response.context["page"]
        pages.append([flag.key for flag in page.rows])
        query = page.next
    assert [key for page in pages for key in page] == keys
    back: Any = client.get(url + page.previous)
    assert [flag.key for flag in back.context["page"].rows] == pages[-2]
    html = squeezed(text_of(back))
    sorted_by = re.findall(r'aria-sort="(\w+)"[^>]*><a href="[^"]*">(\w+)<', html)
    assert sorted_by == [("descending" if direction else "ascending", column.capitalize())]


def test_header__links_to_its_order_and_keeps_the_filters(
    client: Client, environment: Environment, hundred: list[Flag]
) -> None:
    url = url_of(environment, "flag_list")

    def header(query: str, label: str) -> dict[str, str]:
        text = squeezed(text_of(client.get(f"{url}?{query}")))
        found = re.search(rf'<th [^>]*><a href="[^"?]*\?([^"]*)">{label}</a>', text)
        assert found
        return dict(parse_qsl(found[1].replace("&amp;", "&")))

    assert header("owner=Ada&after=x", "Changed") == {"owner": "Ada", "sort": "-changed"}
    assert header("owner=Ada&sort=-changed", "Changed") == {"owner": "Ada", "sort": "changed"}
    assert header("sort=owner", "Owner") == {"sort": "-owner"}
    assert header("", "Key") == {"sort": "-key"}


# --- Saved views ----------------------------------------------------------------------------------


def save_view(client: Client, environment: Environment, query: str, name: str) -> Any:
    url = url_of(environment, "saved_view_new", "flag_list")
    return client.post(f"{url}?{urlencode({'query': query})}", {"name": name})


def tabs(client: Client, environment: Environment, query: str = "") -> dict[str, bool]:
    """The tabs by name, and whether each is current."""
    response: Any = client.get(f"{url_of(environment, 'flag_list')}?{query}")
    return {tab.name: tab.current for tab in response.context["views"].tabs}


def test_view__is_saved_renamed_and_deleted(client: Client, environment: Environment) -> None:
    response = save_view(client, environment, "tag=shop&after=x&sort=-changed&owner=", "Mine")
    assert response["Location"] == f"{url_of(environment, 'flag_list')}?sort=-changed&tag=shop"
    assert tabs(client, environment)["Mine"] is False
    assert tabs(client, environment, "tag=shop&sort=-changed")["Mine"] is True
    assert tabs(client, environment, "tag=shop&sort=-changed&q=x")["Mine"] is False

    view = SavedView.objects.get()
    client.post(url_of(environment, "saved_view_rename", view.pk), {"name": " Shop "})
    assert "Shop" in tabs(client, environment)
    client.post(url_of(environment, "saved_view_delete", view.pk))
    assert "Shop" not in tabs(client, environment)


def test_view__of_the_same_name_is_replaced_but_not_by_renaming(
    client: Client, environment: Environment
) -> None:
    save_view(client, environment, "tag=shop", "Mine")
    save_view(client, environment, "tag=ui", "Mine")
    save_view(client, environment, "tag=ops", "Other")
    assert dict(SavedView.objects.values_list("name", "query")) == {
        "Mine": "tag=ui",
        "Other": "tag=ops",
    }
    other = SavedView.objects.get(name="Other")
    url = url_of(environment, "saved_view_rename", other.pk)
    refused = client.post(url, {"name": "Mine"})
    assert refused.status_code == 422
    assert "You have a view with this name" in text_of(refused)


def test_view__belongs_to_one_person_and_project(
    client: Client, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    save_view(client, environment, "tag=shop", "Mine")
    view, other = SavedView.objects.get(), staff_client(Role.ADMIN)
    assert "Mine" not in tabs(other, environment)
    for name in ("saved_view_rename", "saved_view_delete"):
        assert other.post(url_of(environment, name, view.pk), {"name": "x"}).status_code == 404
    assert SavedView.objects.get().name == "Mine"


@pytest.mark.parametrize(
    ("page", "name", "status"),
    [("flag_list", "", 422), ("flag_list", "\u200b", 422), ("key_list", "Mine", 404)],
)
def test_invalid_view__is_refused(
    client: Client, environment: Environment, page: str, name: str, status: int
) -> None:
    url = f"{url_of(environment, 'saved_view_new', page)}?query=tag%3Dx"
    assert client.post(url, {"name": name}).status_code == status
    assert not SavedView.objects.exists()


# --- CSV ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many")
def test_csv__has_the_filtered_flags_in_their_order(
    client: Client, environment: Environment
) -> None:
    flag = make_flag(environment, "formula", owner="=1+1", tags=["shop"], name="@evil")
    evaluated(flag, HOUR, 3)
    evaluated(flag, DAY, 4)
    response = client.get(f"{url_of(environment, 'flag_list_csv')}?tag=shop&sort=-key")
    rows = list(csv.DictReader(io.StringIO(text_of(response))))
    assert [row["key"] for row in rows] == ["tenth", "plain", "formula"]
    assert rows[0]["rules"] == "10 % of players get enabled"
    assert rows[0]["tags"] == "shop, ui"
    assert (rows[2]["owner"], rows[2]["name"]) == ("'=1+1", "'@evil")
    assert rows[2]["evaluations_14_days"] == "7"
    assert rows[1]["last_evaluated"] == ""


# --- Changes of selected flags --------------------------------------------------------------------


def review(client: Client, environment: Environment, action: str, **posted: Any) -> Any:
    posted.setdefault("key", ["plain", "tenth"])
    return client.post(url_of(environment, "flag_bulk", action), posted)


def confirm(
    client: Client, environment: Environment, action: str, reviewed: Any, form: str = "bulk"
) -> Any:
    fields = fields_of(text_of(reviewed), form)
    url = url_of(environment, "flag_bulk", action)
    return client.post(url, {**fields, "reason": "cleaning up"})


@pytest.mark.usefixtures("many")
def test_archive__is_reviewed_and_undone_at_once(client: Client, environment: Environment) -> None:
    make_player(environment)
    keys = ["plain", "tenth", "off"]
    reviewed = review(client, environment, "archive", key=keys, back="tag=shop&after=x")
    text = text_of(reviewed)
    assert "Archive 3 flags" in text
    assert [row.flag.key for row in reviewed.context["rows"]] == ["off", "plain", "tenth"]
    assert "players switch" in text
    assert Flag.objects.of(environment).archived(True).count() == 1

    done = confirm(client, environment, "archive", reviewed)
    assert done["Location"] == f"{url_of(environment, 'flag_list')}?tag=shop"
    assert message_of(done) == "Archived 3 flags."
    assert Flag.objects.of(environment).archived(True).count() == 4
    entries = AuditEntry.objects.filter(action=AuditAction.FLAG_ARCHIVED, reason="cleaning up")
    assert {entry.object_id for entry in entries} == set(keys)

    client.post(url_of(environment, "audit_undo_together", entries[0].pk))
    assert [flag.key for flag in Flag.objects.of(environment).archived(True)] == ["gone"]


@pytest.mark.usefixtures("many")
def test_tag__is_added_and_removed(client: Client, environment: Environment) -> None:
    reviewed = review(client, environment, "tag", tag=" ui ")
    changes = [row.change for row in reviewed.context["rows"]]
    assert (changes[0].before, changes[0].after) == ("shop", "shop, ui")
    assert changes[1] is None
    done = confirm(client, environment, "tag", reviewed)
    assert message_of(done) == "Added the tag ui to 1 flag."
    reviewed = review(client, environment, "untag", tag="shop")
    confirm(client, environment, "untag", reviewed)
    tags = dict(Flag.objects.filter(key__in=["plain", "tenth"]).values_list("key", "tags"))
    assert tags == {"plain": ["ui"], "tenth": ["ui"]}


@pytest.mark.parametrize(
    ("action", "posted", "message"),
    [
        ("archive", {"key": []}, "Select flags in the list first."),
        ("tag", {}, "A tag is a text of 1 to 50 characters."),
        ("tag", {"tag": "a,b"}, "no commas"),
        ("archive", {"key": [f"f{n}" for n in range(201)]}, "Select 200 flags at most."),
    ],
)
@pytest.mark.usefixtures("many")
def test_incomplete_selection__leads_back_to_the_list(
    client: Client, environment: Environment, action: str, posted: dict[str, Any], message: str
) -> None:
    response = review(client, environment, action, **posted)
    assert response.status_code == 302
    assert message in message_of(response)


@pytest.mark.usefixtures("many")
def test_change_in_between__is_a_conflict_that_can_be_overwritten(
    client: Client, environment: Environment
) -> None:
    reviewed = review(client, environment, "turn-off")
    client.post(url_of(environment, "flag_archive", "plain", "archive"))
    client.post(url_of(environment, "flag_archive", "plain", "unarchive"))
    refused = confirm(client, environment, "turn-off", reviewed)
    assert refused.status_code == 409
    assert "plain was changed" in text_of(refused)
    assert not Flag.objects.of(environment).in_state("off").filter(key="tenth").exists()

    fields = fields_of(text_of(refused), "conflict")
    url = url_of(environment, "flag_bulk", "turn-off")
    assert "Turn off 2 flags" in text_of(client.post(url, {**fields, "review": "1"}))
    confirm(client, environment, "turn-off", refused, "conflict")
    off = Flag.objects.of(environment).in_state("off").values_list("key", flat=True)
    assert set(off) == {"off", "plain", "tenth"}


def test_dependents__are_named_unless_they_are_selected_too(
    client: Client, environment: Environment
) -> None:
    make_player(environment)
    make_flag(environment, "base", rule())
    needing = msgspec.structs.replace(
        boolean_document(enabled=True, rules=(rule(),)),
        prerequisites=(Prerequisite("base", ("enabled",)),),
    )
    flag_create(environment=environment, key="needing", document=needing, actor=ACTOR)
    for action in ("turn-off", "archive"):
        text = text_of(review(client, environment, action, key=["base"]))
        assert "Only if base serves enabled. It will serve false to everyone." in text
        both = text_of(review(client, environment, action, key=["base", "needing"]))
        assert "Flags that depend on it" not in both


# --- Markup ---------------------------------------------------------------------------------------


def test_row__escapes_what_staff_wrote(client: Client, environment: Environment) -> None:
    given = '<i>"&'
    make_flag(environment, "odd", name=given, owner=given, tags=[given])
    text = text_of(client.get(f"{url_of(environment, 'flag_list')}?q=odd"))
    assert given not in text
    escaped = "&lt;i&gt;&quot;&amp;"
    assert f"<small>{escaped}</small>" in text
    assert text.count(f"<bdi>{escaped}</bdi>") == 2
    assert 'href="?tag=%3Ci%3E%22%26"' in text
