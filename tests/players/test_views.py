"""The pages about players."""

import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from flags.engine.document import Rule, boolean_document, encode_document
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_set_enabled
from ilara_admin.models import AuditEntry, Environment, Role, User
from players.aliases import player_alias_link
from players.models import Player, Purchase
from players.notes import note_add
from players.purchases import SHOWN, purchase_url
from players.services import purchase_refund, purchase_refund_undo
from segments.services import segment_create
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_player
from tests.form_fields import fields_of
from tests.pages import squeezed, url_of

type SignIn = Callable[..., Client]
HTMX = {"HX-Request": "true"}
NASTY = "<script>alert(1)</script>\"'&"


@pytest.fixture
def admin(staff_client: SignIn) -> Client:
    return staff_client()


def at(environment: Environment, path: str = "") -> str:
    return f"/{environment.project.slug}/{environment.slug}/players/{path}"


def text_of(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, response
    return squeezed(response.content.decode())


def ids_in(html: str) -> list[str]:
    """The external ids of a table's rows, from the top."""
    return re.findall(r'<td><a class="mono" href="[^"]+">([^<]*)</a></td>', html)


def queries_for(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


def make_players(environment: Environment, names: Sequence[str], **columns: Any) -> None:
    """Players, the most recently seen first."""
    now = datetime.now(UTC)
    for number, name in enumerate(names):
        make_player(environment, name, last_seen_at=now - timedelta(days=number), **columns)


# --- The list -----------------------------------------------------------------------------------


def test_list__shows_the_most_recently_seen_first(admin: Client, environment: Environment) -> None:
    make_players(environment, ["c", "a", "b"], attributes={"country": "PT"})
    html = text_of(admin, at(environment))
    assert ids_in(html) == ["c", "a", "b"]
    assert "<bdi>PT</bdi>" in html
    assert ">country</th>" in html


def test_country__is_a_column_only_if_a_player_has_one(
    admin: Client, environment: Environment
) -> None:
    make_players(environment, ["a"])
    assert ">country</th>" not in text_of(admin, at(environment))


def test_fragment__has_the_rows_of_the_page_and_a_clean_address(
    admin: Client, environment: Environment
) -> None:
    make_players(environment, ["ab", "abc", "b"])
    url = at(environment, "?q=ab&stage=&payer=")
    response = admin.get(url, headers=HTMX)
    html = response.content.decode()
    assert "<!doctype" not in html
    assert ids_in(html) == ["ab", "abc"]
    assert response["HX-Push-Url"] == at(environment, "?q=ab")
    assert "2 players" in html


def test_complete_external_id__redirects_to_its_player(
    admin: Client, environment: Environment
) -> None:
    player = make_player(environment, "a/b c?")
    make_player(environment, "a/b c?d")
    response = admin.get(at(environment), {"q": "a/b c?"})
    assert response.status_code == 302
    assert response["Location"] == at(environment, f"{player.pk}/")


def test_external_id_prefix__lists_players_by_id(admin: Client, environment: Environment) -> None:
    make_players(environment, ["p_2", "p_10", "P_1", "q", "p%", "p_1"])
    assert ids_in(text_of(admin, at(environment, "?q=p_"))) == ["p_1", "p_10", "p_2"]
    assert ids_in(text_of(admin, at(environment, "?q=p%25"), **HTMX)) == ["p%"]


def test_search__uses_the_index_for_condition_and_order(environment: Environment) -> None:
    make_players(environment, ["a"])
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"
            "SET LOCAL enable_sort = off"
        )
    plan = Player.objects.of(environment).starting_with("abc").for_list()[:50].explain()
    assert "player_search" in plan
    assert "Sort" not in plan
    assert "'abc'" in plan.partition("Index Cond:")[2].partition("\n")[0]


def test_filters__narrow_the_list_and_show_as_chips(
    admin: Client, environment: Environment
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    make_player(environment, "gone", last_seen_at=long_ago)
    make_player(environment, "gone_payer", last_seen_at=long_ago, purchase_count=1)
    make_player(environment, "here")
    assert ids_in(text_of(admin, at(environment, "?stage=new"))) == ["here"]
    html = text_of(admin, at(environment, "?stage=churned&payer=yes"))
    assert ids_in(html) == ["gone_payer"]
    assert f'href="{at(environment)}?payer=yes" aria-label="Remove filter Stage: Churned"' in html
    assert ids_in(text_of(admin, at(environment, "?stage=churned&payer=no"))) == ["gone"]
    assert len(ids_in(text_of(admin, at(environment, "?stage=nonsense")))) == 3


def test_pages__are_linked(admin: Client, environment: Environment) -> None:
    names = [f"p{number:02}" for number in range(60)]
    make_players(environment, names)
    first = text_of(admin, at(environment))
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    second = text_of(admin, following[1].replace("&amp;", "&"))
    assert ids_in(first) + ids_in(second) == names


def test_empty_list__explains_itself(admin: Client, environment: Environment) -> None:
    html = text_of(admin, at(environment))
    assert "No players yet" in html
    assert "curl -X POST &quot;http://testserver/v1/players/players&quot;" in html
    make_player(environment)
    html = text_of(admin, at(environment, "?q=zzz"))
    assert "No players match" in html
    assert "No players yet" not in html


def test_list__needs_the_same_queries_for_1_row_and_50(
    admin: Client, environment: Environment
) -> None:
    make_player(environment, "first", attributes={"country": "PT"})
    admin.get(at(environment))
    one = queries_for(admin, at(environment))
    make_players(environment, [f"p{number}" for number in range(49)])
    assert queries_for(admin, at(environment)) == one


def test_players_of_other_environments__are_not_listed(
    admin: Client, environment: Environment
) -> None:
    other = make_environment()
    stranger = make_player(other, "stranger")
    assert ids_in(text_of(admin, at(environment, "?q=str"))) == []
    for path in (f"{stranger.pk}/", f"{stranger.pk}/edit/"):
        assert admin.get(at(environment, path)).status_code == 404
    assert admin.get(at(environment, f"{uuid.uuid4()}/")).status_code == 404


# --- One player ---------------------------------------------------------------------------------


def test_page__shows_each_flag_value_with_its_reason(
    admin: Client, environment: Environment
) -> None:
    tester = make_player(environment, "tester", attributes={"level": 45})
    html = text_of(admin, at(environment, f"{tester.pk}/"))
    assert "Rule 1: in segment beta-testers." in html
    assert "The flag is off." in html
    assert "segments/beta-testers/" in html
    beginner = make_player(environment, "beginner", attributes={"level": 4})
    html = text_of(admin, at(environment, f"{beginner.pk}/"))
    assert "No rule matched: the default." in html
    assert "In no segment." in html


def test_page__shows_a_changed_flag_at_once(
    admin: Client, environment: Environment, player: Player
) -> None:
    assert "The flag is off." in text_of(admin, at(environment, f"{player.pk}/"))
    flag = Flag.objects.get(environment=environment, key="new-feature")
    flag_set_enabled(flag, True, actor=ACTOR)
    html = text_of(admin, at(environment, f"{player.pk}/"))
    assert "The flag is off." not in html
    assert "No rules: the default." in html


def test_page__shows_fields_attributes_and_history(
    admin: Client, environment: Environment, secret_api: Api
) -> None:
    sent = secret_api.register("pia", attributes={"level": 3, "stats": {"wins": 7}, "name": "Pia"})
    path = f"{PLAYERS}/{sent['id']}"
    secret_api.post(f"{path}/session", {"duration_seconds": 125, "session_id": "s-1"})
    secret_api.post(f"{path}/purchase", {"amount": 4.99, "product_id": "gems"})
    secret_api.post(f"{path}/purchase", {"amount": 1, "currency": "EUR"})
    event = {"player_id": sent["id"], "event_name": "level_up", "properties": {"level": 3}}
    secret_api.post(EVENTS, event)
    html = text_of(admin, at(environment, f"{sent['id']}/"))
    for text in (
        "Session of 2 min 5 s",
        "4.99 USD",
        "Verified",
        "the currency is not USD",
        "level_up",
        "level 3",
        "&quot;Pia&quot;",
        "&quot;wins&quot;: 7",
        "Churn risk",
        "If not seen again",
    ):
        assert text in html


def test_timeline__is_a_fragment_filtered_by_event_name(
    admin: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    for name in ("a&b", "other"):
        public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": name})
    url = at(environment, f"{player.pk}/")
    html = text_of(admin, url)
    assert f'href="{url}?event=a%26b#timeline"' in html
    response = admin.get(url, {"event": "a&b", "kind": ""}, headers=HTMX)
    html = response.content.decode()
    assert "<!doctype" not in html
    assert response["HX-Push-Url"] == f"{url}?event=a%26b"
    assert "a&amp;b" in html
    assert ">other<" not in html
    assert "No sessions" not in html
    html = text_of(admin, f"{url}?kind=session")
    assert "No entries match the filters." in html


def test_timeline__continues_with_older_entries(
    admin: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    events = [{"player_id": str(player.pk), "event_name": f"e{number:02}"} for number in range(60)]
    public_api.post(f"{EVENTS}/batch", {"events": events})
    url = at(environment, f"{player.pk}/")
    found: list[str] = []
    for _ in range(2):
        html = text_of(admin, url)
        found += re.findall(r">(e\d\d)</span>", html)
        older = re.search(r'rel="next" href="([^"#]+)', html)
        url = older[1].replace("&amp;", "&") if older else ""
    assert found == [f"e{number:02}" for number in range(59, -1, -1)]
    assert not url


def test_page__needs_the_same_queries_for_any_amount_of_data(
    admin: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    url = at(environment, f"{player.pk}/")
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "e"})
    admin.get(url)
    one = queries_for(admin, url)
    events = [{"player_id": str(player.pk), "event_name": "e"}] * 50
    public_api.post(f"{EVENTS}/batch", {"events": events})
    rule = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
    for number in range(20):
        segment_create(environment=environment, key=f"s{number}", name="", rule=rule, actor=ACTOR)
    admin.get(url)  # loads the changed environment
    assert queries_for(admin, url) == one


def test_timeline__shows_what_staff_did_under_local_days(
    admin: Client, environment: Environment, player: Player
) -> None:
    note_add(player, "Lost the gems", actor=ACTOR)
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    override_set(flag, player, "enabled", actor=ACTOR, reason="QA")
    User.objects.update(time_zone="Pacific/Kiritimati")
    html = text_of(admin, at(environment, f"{player.pk}/"))
    timeline = html[html.index('id="timeline"') :]
    here = datetime.now(ZoneInfo("Pacific/Kiritimati"))
    assert re.search(rf"{here.day} {here:%B %Y}</h3>", timeline)
    assert " +14 · " in timeline
    assert "Lost the gems" in timeline
    assert "new_tutorial</span>" in timeline
    assert "Reason: <bdi>QA</bdi>" in timeline
    assert "Lost the gems" not in text_of(
        admin, at(environment, f"{player.pk}/?kind=event"), **HTMX
    )


def test_purchases__are_the_newest_and_the_one_in_the_address(
    staff_client: SignIn, environment: Environment, player: Player, public_api: Api, secret_api: Api
) -> None:
    client, path = staff_client(Role.SUPPORT), f"{PLAYERS}/{player.pk}/purchase"
    for number in range(8):
        api = secret_api if number else public_api
        api.post(path, {"amount": 5 + number, "transaction_id": f"t-{number}"})
    rows = {each.transaction_id: bytes(each.digest) for each in Purchase.objects.all()}
    purchase_refund(player, "t-0", actor=ACTOR)
    purchase_refund_undo(player, "t-0", actor=ACTOR)
    purchase_refund(player, "t-7", actor=ACTOR)

    def panel(url: str) -> str:
        html = text_of(client, url)
        return html[html.index('id="purchases"') : html.index('id="timeline"')]

    html = panel(at(environment, f"{player.pk}/"))
    assert [f"t-{number}" for number in range(8) if f">t-{number}<" in html] == [
        f"t-{number}" for number in range(8 - SHOWN, 8)
    ]
    assert f"by <bdi>{ACTOR.name}</bdi>" in html
    assert "?kind=purchase#timeline" in html
    address, _, anchor = purchase_url(environment, player.pk, rows["t-0"]).partition("#")
    html = panel(address)
    assert f'id="{anchor}" aria-current="true"' in html
    assert ">t-0<" in html
    assert "Not verified" in html
    assert html.count("Refunded") == 1
    for unknown in ("0" * 32, "nonsense", anchor):
        assert "does not have the purchase" in panel(
            at(environment, f"{player.pk}/?purchase={unknown}")
        )
    assert "(5.00 USD not verified)" in text_of(client, address)
    assert re.search(r"5\.00 USD of\s+[\d.]+ USD not verified", html)


def mark_personal(environment: Environment) -> None:
    Environment.objects.filter(pk=environment.pk).update(
        personal_attributes=["city", "home"], personal_properties=["friend"]
    )


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT])
def test_marked_data_and_linked_ids__are_masked_below_support(
    role: Role, staff_client: SignIn, environment: Environment, public_api: Api
) -> None:
    """In the fields, the attributes, the timeline and the reasons of flags."""
    mark_personal(environment)
    personal = {"city": "Bergen", "home": {"zip": "5003"}}
    player = make_player(environment, attributes={**personal, "level": 7}, email="pia@example.com")
    player_alias_link(player, "guest-4711", actor=ACTOR)
    event = {"event_name": "met", "properties": {"friend": "Olav Hansen", "level": 8}}
    public_api.post(EVENTS, {"player_id": str(player.pk), **event})
    for number, field in enumerate(("city", "email")):
        condition = {"field": field, "operator": "==", "value": "Oslo"}
        rules = (
            Rule(
                id="r", variant="enabled", conditions={"operator": "AND", "conditions": [condition]}
            ),
        )
        document = encode_document(boolean_document(enabled=True, rules=rules))
        Flag.objects.create(environment=environment, key=f"for-{number}", document=document)
    Environment.objects.filter(pk=environment.pk).update(config_version=F("config_version") + 1)
    html = text_of(staff_client(role), at(environment, f"{player.pk}/"))
    # The audit log has the linked id in its own words.
    html = re.sub(r'<li data-kind="4">.*?</li>', "", html, flags=re.DOTALL)
    for secret in ("Bergen", "5003", "guest-4711", "Olav Hansen", "pia@example.com"):
        assert (secret in html) is (role == Role.SUPPORT), secret
    assert "(actual: " in html
    assert "level" in html


def test_personal_event_properties__are_recorded_as_seen(
    staff_client: SignIn, environment: Environment, player: Player, public_api: Api
) -> None:
    mark_personal(environment)
    seen = AuditEntry.objects.filter(action="player.data_seen", object_id=player.pk)
    url, support = at(environment, f"{player.pk}/"), staff_client(Role.SUPPORT)
    text_of(support, url)
    assert not seen.exists()
    public_api.post(EVENTS, {
        "player_id": str(player.pk), "event_name": "met", "properties": {"friend": "Olav"},
    })  # fmt: skip
    assert "Olav" in text_of(support, url, **HTMX)
    assert seen.count() == 1


def test_summary__masks_personal_data_for_everybody(
    admin: Client, environment: Environment, public_api: Api
) -> None:
    Environment.objects.filter(pk=environment.pk).update(personal_attributes=["country"])
    player = make_player(
        environment, "pia", email="pia@example.com", device_id="device-4711",
        attributes={"country": "Norway", "platform": "ios", "level": 45},
    )  # fmt: skip
    player_alias_link(player, "guest-4711", actor=ACTOR)
    public_api.post(f"{PLAYERS}/{player.pk}/purchase", {"amount": 5, "transaction_id": "t-1"})
    url = at(environment, f"{player.pk}/summary/")
    html = text_of(admin, url)
    for text in (
        f"Page: http://testserver{at(environment, f'{player.pk}/')}", "Country: N***",
        "Platform: ios", "revenue 5.00 USD (5.00 USD not verified)", "t-1, not verified",
        "Segments: beta-testers", "- new_tutorial = true: Rule 1: in segment beta-testers.",
    ):  # fmt: skip
        assert text in html
    for secret in ("pia@example.com", "device-4711", "guest-4711", "Norway"):
        assert secret not in html
    assert "<!doctype" not in text_of(admin, url, **HTMX)


@pytest.mark.parametrize("role", list(Role))
def test_personal_data__is_masked_below_support(
    role: Role, staff_client: SignIn, environment: Environment
) -> None:
    player = make_player(environment, email="pia@example.com", device_id="device-4711")
    client = staff_client(role)
    html = text_of(client, at(environment, f"{player.pk}/"))
    clear = role != Role.VIEWER
    assert ("pia@example.com" in html) is clear
    assert ("device-4711" in html) is clear
    assert ("p***@example.com" in html) is not clear
    assert ("devi***" in html) is not clear
    assert (f"{player.pk}/edit/" in html) is clear


def test_texts_from_the_game__are_escaped(
    admin: Client, environment: Environment, secret_api: Api
) -> None:
    sent = secret_api.register(
        NASTY,
        email=NASTY,
        device_id=NASTY,
        attributes={NASTY: NASTY, "country": NASTY, "a": [NASTY]},
    )
    path = f"{PLAYERS}/{sent['id']}"
    secret_api.post(f"{path}/session", {"session_id": NASTY})
    secret_api.post(f"{path}/purchase", {"amount": 1, "product_id": NASTY, "transaction_id": NASTY})
    event = {"event_name": NASTY, "session_id": NASTY, "properties": {NASTY: NASTY}}
    assert secret_api.post(EVENTS, {"player_id": sent["id"], **event}).status == 201
    for url in ("", "?q=%3C", f"{sent['id']}/", f"{sent['id']}/edit/"):
        html = text_of(admin, at(environment, url))
        assert "<script>alert" not in html
        assert escape(NASTY)[:20] in html


# --- Editing ------------------------------------------------------------------------------------


def form_of(client: Client, url: str, **changes: str) -> dict[str, str]:
    """The form as the browser would send it, with some fields changed."""
    form = client.get(url).context["page"].form
    sent = {field.name: field.value() or "" for field in form}
    assert set(changes) <= set(sent)
    return sent | changes


@pytest.fixture
def pia(environment: Environment) -> Player:
    return make_player(
        environment, "pia", email="pia@example.com", attributes={"level": 3, "vip": True}
    )


def test_edit__writes_only_changed_fields_and_can_be_undone(
    staff_client: SignIn, environment: Environment, pia: Player
) -> None:
    client = staff_client(Role.SUPPORT)
    url = at(environment, f"{pia.pk}/edit/")
    sent = form_of(client, url, email="", attributes='{"level": 4}', reason="Ticket 7")
    Player.objects.filter(pk=pia.pk).update(attributes={"level": 3, "vip": True, "coins": 9})
    page = client.post(url, sent, follow=True).content.decode()
    pia.refresh_from_db()
    assert (pia.email, pia.attributes) == (None, {"level": 4, "coins": 9})
    entry = AuditEntry.objects.exclude(action="player.data_seen").latest("id")
    assert (entry.action, entry.reason) == ("player.updated", "Ticket 7")
    undo = url_of(environment, "audit_undo", entry.pk)
    assert f'action="{undo}"' in page
    client.post(undo)
    pia.refresh_from_db()
    assert pia.email == "pia@example.com"
    assert pia.attributes == {"level": 3, "vip": True, "coins": 9}


def test_edit_in_a_dialog__tells_htmx_to_reload_the_player(
    admin: Client, environment: Environment, pia: Player
) -> None:
    url = at(environment, f"{pia.pk}/edit/")
    html = text_of(admin, url, **HTMX)
    assert "<!doctype" not in html
    response = admin.post(url, form_of(admin, url, device_id="d"), headers=HTMX)
    assert response["HX-Redirect"] == at(environment, f"{pia.pk}/")


def test_unchanged_form__writes_nothing(
    admin: Client, environment: Environment, pia: Player
) -> None:
    url = at(environment, f"{pia.pk}/edit/")
    changes = AuditEntry.objects.exclude(action="player.data_seen")
    entries = changes.count()
    page = admin.post(url, form_of(admin, url), follow=True).content.decode()
    assert "Nothing was changed." in page
    assert changes.count() == entries


def test_player_id_in_capitals__opens_the_same_page(
    admin: Client, environment: Environment, pia: Player
) -> None:
    for place in (f"{str(pia.pk).upper()}/", f"{str(pia.pk).upper()}/edit/"):
        assert admin.get(at(environment, place)).status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("attributes", '{"a": 1,\n oops}', "Line 2"),
        ("attributes", "[1]", "Attributes must be an object"),
        ("attributes", '{"a": null}', "Leave a out to remove it"),
        ("attributes", '{"a": 1e400}', "out of range"),
        ("attributes", '{"": 1}', "1 to 128 characters"),
        ("attributes", '{"a": "\\u0000"}', "NUL"),
        ("attributes", "[" * 100_000, "JSON"),
        ("attributes", '{"a": "%s"}' % ("x" * 65536), "64 KiB"),
        ("email", "a\tb", "characters that are not allowed"),
        ("email", "x" * 255, "at most 254 characters"),
        ("device_id", "x" * 256, "at most 255 characters"),
        ("seen", "forged", "Open it again"),
    ],
)
def test_invalid_input__is_422_with_a_message(
    admin: Client, environment: Environment, pia: Player, field: str, value: str, text: str
) -> None:
    url = at(environment, f"{pia.pk}/edit/")
    response = admin.post(url, form_of(admin, url, **{field: value}))
    assert response.status_code == 422
    assert text in response.content.decode()
    pia.refresh_from_db()
    assert pia.attributes == {"level": 3, "vip": True}


def test_viewers__cannot_change_players(
    staff_client: SignIn, environment: Environment, pia: Player
) -> None:
    client = staff_client(Role.VIEWER)
    assert client.post(at(environment, f"{pia.pk}/edit/")).status_code == 403
    assert client.get(at(environment, f"{pia.pk}/edit/")).status_code == 403


def test_edit_of_a_field_changed_in_the_meantime__is_a_conflict(
    admin: Client, environment: Environment, pia: Player
) -> None:
    url = at(environment, f"{pia.pk}/edit/")
    sent = form_of(admin, url, email="mine@x.example", attributes='{"level": 5, "vip": true}')
    theirs = {"level": 9, "vip": True, "coins": 1}
    Player.objects.filter(pk=pia.pk).update(attributes=theirs, device_id="new")
    refused = admin.post(url, sent)
    assert refused.status_code == 409
    html = refused.content.decode()
    assert "attributes.level" in html
    assert "coins" not in html.partition("What they changed")[2].partition("<footer>")[0]
    pia.refresh_from_db()
    assert (pia.email, pia.attributes) == ("pia@example.com", theirs)
    assert admin.post(url, fields_of(html, "conflict")).status_code == 302
    pia.refresh_from_db()
    assert (pia.email, pia.device_id) == ("mine@x.example", "new")
    assert pia.attributes == {"level": 5, "vip": True, "coins": 1}


def test_personal_data__is_recorded_once_a_day_for_each_account_that_sees_it(
    staff_client: SignIn, environment: Environment, pia: Player
) -> None:
    seen = AuditEntry.objects.filter(action="player.data_seen", object_id=pia.pk)
    viewer, support = staff_client(Role.VIEWER), staff_client(Role.SUPPORT)
    assert "pia@example.com" not in text_of(viewer, at(environment, f"{pia.pk}/"))
    assert not seen.exists()
    for _ in range(2):
        assert "pia@example.com" in text_of(support, at(environment, f"{pia.pk}/"))
    assert seen.count() == 1
    text_of(staff_client(Role.SUPPORT), at(environment, f"{pia.pk}/"))
    assert seen.count() == 2
