"""Support actions on a player: notes, linked ids, refunds, and their undo."""

import re
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ilara_admin.models import AuditEntry, Environment, Role
from players.aliases import aliases_of, aliases_starting_with, player_alias_link
from players.models import MAX_NOTE, Player, PlayerAlias, PlayerNote, Purchase
from players.notes import note_add, note_delete
from players.purchases import purchase_page
from players.services import purchase_refund
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_player
from tests.pages import message_of, signed_in, text_of, tone_of, url_of


@pytest.fixture
def support(db: None) -> Client:
    return signed_in(Role.SUPPORT)


def page_of(client: Client, player: Player) -> str:
    return text_of(client.get(url_of(player.environment, "player_detail", player.pk)))


def undo_of(client: Client, player: Player) -> str:
    """Undo the newest change of the player. Returns the tone of the toast."""
    entry = AuditEntry.objects.filter(object_type="player").order_by("-id")[0]
    url = url_of(player.environment, "audit_undo", entry.pk)
    return tone_of(client.post(url))


# --- Notes ----------------------------------------------------------------------------------------


def test_note__is_shown_with_its_lines_and_escaped(support: Client, player: Player) -> None:
    url = url_of(player.environment, "player_note_add", player.pk)
    response = support.post(url, {"text": "  Lost <b>gems</b>\r\n\r\nGave 120 back\n"})
    assert (response.status_code, tone_of(response)) == (302, "ok")
    assert "<p data-lines>Lost &lt;b&gt;gems&lt;/b&gt;\n\nGave 120 back</p>" in page_of(
        support, player
    )
    note = PlayerNote.objects.get()
    assert note.author is not None
    assert note.author_name == note.author.username
    entry = AuditEntry.objects.filter(object_type="player").get()
    assert (entry.action, entry.actor_user) == ("player.note_added", note.author)


@pytest.mark.parametrize("text", ["", "  \n ", "x" * (MAX_NOTE + 1), "a\0b"])
def test_empty_or_too_long_note__is_422(text: str, support: Client, player: Player) -> None:
    url = url_of(player.environment, "player_note_add", player.pk)
    response = support.post(url, {"text": text})
    assert response.status_code == 422
    assert 'aria-invalid="true"' in text_of(response)
    assert not PlayerNote.objects.exists()


def test_longest_note__is_saved(support: Client, player: Player) -> None:
    url = url_of(player.environment, "player_note_add", player.pk)
    assert support.post(url, {"text": "é" * MAX_NOTE}).status_code == 302
    assert len(PlayerNote.objects.get().text) == MAX_NOTE


def test_page__shows_three_notes_and_links_to_the_rest(support: Client, player: Player) -> None:
    for number in range(3):
        note_add(player, f"Note no. {number}", actor=ACTOR)
    all_url = url_of(player.environment, "player_notes", player.pk)
    assert all_url + '"' not in page_of(support, player)
    note_add(player, "Note no. 3", actor=ACTOR)
    page = page_of(support, player)
    page = page[page.index('id="notes"') : page.index('id="purchases"')]
    assert [page.count(f"Note no. {number}") for number in range(4)] == [0, 1, 1, 1]
    assert page.index("Note no. 3") < page.index("Note no. 1")
    assert all_url + '"' in page
    assert "Note no. 0" in text_of(support.get(all_url))


def test_notes__are_paged(support: Client, player: Player) -> None:
    for number in range(51):
        note_add(player, f"Note no. {number:02}", actor=ACTOR)
    url = url_of(player.environment, "player_notes", player.pk)
    first = text_of(support.get(url))
    assert ("Note no. 01" in first, "Note no. 00" in first) == (True, False)
    older = first.partition('rel="next" href="')[2].partition('"')[0]
    assert "Note no. 00" in text_of(support.get(older))


@pytest.mark.parametrize(
    ("role", "own", "status"),
    [
        (Role.SUPPORT, True, 302),
        (Role.SUPPORT, False, 403),
        (Role.LIVE_OPS, False, 403),
        (Role.ADMIN, False, 302),
        (Role.VIEWER, False, 403),
    ],
)
def test_note__is_deleted_by_its_author_or_an_admin(
    role: Role, own: bool, status: int, support: Client, player: Player
) -> None:
    client = support if own else signed_in(role)
    support.post(url_of(player.environment, "player_note_add", player.pk), {"text": "Hm."})
    note = PlayerNote.objects.get()
    url = url_of(player.environment, "player_note_delete", player.pk, note.id)
    assert (url in page_of(client, player)) == (status == 302)
    added = AuditEntry.objects.get(action="player.note_added")
    assert client.post(url).status_code == status
    assert PlayerNote.objects.exists() == (status == 403)
    if status == 403:  # nor by undo of a note of another author
        undo = url_of(player.environment, "audit_undo", added.pk)
        assert client.post(undo).status_code == 403
        assert PlayerNote.objects.exists()


def test_deleted_note__is_restored_unchanged(support: Client, player: Player) -> None:
    support.post(url_of(player.environment, "player_note_add", player.pk), {"text": "Two\nlines"})
    before = PlayerNote.objects.values().get()
    note_delete(player, before["id"], actor=ACTOR)
    assert undo_of(support, player) == "ok"
    assert PlayerNote.objects.values().get() == before
    undo_of(support, player)  # deleted again
    assert not PlayerNote.objects.exists()


def test_deleted_note__is_restored_by_its_author_or_an_admin(
    support: Client, player: Player
) -> None:
    note_add(player, "Written by a command", actor=ACTOR)
    entry = note_delete(player, PlayerNote.objects.get().id, actor=ACTOR)
    assert entry is not None
    undo = url_of(player.environment, "audit_undo", entry.pk)
    log = url_of(player.environment, "audit_list")
    assert undo not in text_of(support.get(log))
    assert support.post(undo).status_code == 403
    assert undo in text_of(signed_in().get(log))
    assert tone_of(signed_in().post(undo)) == "ok"
    # A second click changes nothing.
    assert signed_in().post(undo).status_code == 409
    assert PlayerNote.objects.get().text == "Written by a command"


def test_note_of_another_player__is_404(support: Client, player: Player) -> None:
    note_add(make_player(player.environment, "other"), "About other", actor=ACTOR)
    note = PlayerNote.objects.get()
    url = url_of(player.environment, "player_note_delete", player.pk, note.id)
    assert signed_in().post(url).status_code == 404


# --- Linked ids -----------------------------------------------------------------------------------


def test_id__is_linked_unlinked_and_both_undone(support: Client, player: Player) -> None:
    add = url_of(player.environment, "player_alias_add", player.pk)
    response = support.post(add, {"external_id": "guest <7>", "reason": "Made an account"})
    assert tone_of(response) == "ok"
    alias = PlayerAlias.objects.get()
    assert "guest &lt;7&gt;" in page_of(support, player)
    remove = url_of(player.environment, "player_alias_remove", player.pk, alias.pk)
    assert "Unlink guest &lt;7&gt;" in text_of(support.get(remove))
    assert tone_of(support.post(remove)) == "ok"
    assert aliases_of(player.pk) == []
    undo_of(support, player)
    assert aliases_of(player.pk) == ["guest <7>"]
    undo_of(support, player)
    assert aliases_of(player.pk) == []
    assert AuditEntry.objects.get(reason="Made an account").action == "player.alias_linked"


def test_id_that_cannot_be_linked__has_a_message_at_the_field(
    support: Client, player: Player
) -> None:
    make_player(player.environment, "other")
    add = url_of(player.environment, "player_alias_add", player.pk)
    for external_id, text in (("other", "is the id of another player"), ("", "required")):
        response = support.post(add, {"external_id": external_id})
        assert response.status_code == 422
        assert text in text_of(response)


def test_undo_that_is_no_longer_possible__shows_the_reason(support: Client, player: Player) -> None:
    player_alias_link(player, "guest-7", actor=ACTOR)
    alias = PlayerAlias.objects.get()
    support.post(url_of(player.environment, "player_alias_remove", player.pk, alias.pk))
    make_player(player.environment, "guest-7")
    entry = AuditEntry.objects.filter(object_type="player").order_by("-id")[0]
    refused = support.post(url_of(player.environment, "audit_undo", entry.pk))
    assert refused.status_code == 422
    assert "is the id of another player" in text_of(refused)


def test_viewer__sees_linked_ids_and_notes_without_actions(player: Player) -> None:
    player_alias_link(player, "guest-7", actor=ACTOR)
    note_add(player, "Be kind", actor=ACTOR)
    page = page_of(signed_in(Role.VIEWER), player)
    assert "g***" in page
    assert "guest-7" not in page
    assert "Be kind" in page
    for act in ("Link an id", "Unlink", "Add a note", "Delete"):
        assert act not in page


# --- Searching by an alias ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["player_list", "find"])
def test_complete_alias__redirects_to_its_player_with_a_toast(
    name: str, support: Client, player: Player
) -> None:
    player_alias_link(player, "guest-7", actor=ACTOR)
    response = support.get(url_of(player.environment, name), {"q": "guest-7"})
    assert response["Location"] == url_of(player.environment, "player_detail", player.pk)
    assert "guest-7" in message_of(response)
    own = support.get(url_of(player.environment, name), {"q": player.external_id})
    assert own["Location"] == response["Location"]


@pytest.mark.parametrize(
    ("name", "shown"), [("player_list", "is linked to</span>"), ("find", ">guest-")]
)
def test_alias_prefix__lists_aliases_with_their_players(
    name: str, shown: str, support: Client, player: Player
) -> None:
    for number in (1, 2):
        player_alias_link(player, f"guest-{number}", actor=ACTOR)
    page = text_of(support.get(url_of(player.environment, name), {"q": "guest"}))
    assert page.count(shown) == 2
    assert "guest-1" in page
    assert player.external_id in page
    assert "No players match" not in page
    assert "Nothing found" not in page


def test_search_of_aliases__uses_the_index(environment: Environment) -> None:
    with CaptureQueriesContext(connection) as queries:
        aliases_starting_with(environment, "guest")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN " + queries[0]["sql"].replace("%", "%%"), [])
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "alias_search" in plan
    assert "Sort" not in plan


# --- Refunds --------------------------------------------------------------------------------------


@pytest.fixture
def buyer(player: Player, public_api: Api) -> Player:
    path = f"{PLAYERS}/{player.pk}/purchase"
    public_api.post(path, {"amount": 4.99, "transaction_id": "t-1"})
    public_api.post(path, {"amount": 10})
    player.refresh_from_db()
    return player


def revenue(player: Player) -> tuple[int, Decimal]:
    player.refresh_from_db()
    return player.purchase_count, player.total_revenue


def test_purchase__is_refunded_reversed_and_both_undone(support: Client, buyer: Player) -> None:
    ledger_id = bytes(Purchase.objects.get(transaction_id=None).digest).hex()
    refund = url_of(buyer.environment, "player_refund", buyer.pk, ledger_id)
    reverse = url_of(buyer.environment, "player_refund_reverse", buyer.pk, ledger_id)
    assert refund in page_of(support, buyer)
    assert "Mark 10.00 USD as refunded" in text_of(support.get(refund))
    response = support.post(refund, {"reason": "Child bought it"})
    assert tone_of(response) == "ok"
    assert revenue(buyer) == (1, Decimal("4.99"))
    page = page_of(support, buyer)
    assert (refund in page, reverse in page) == (False, True)
    assert re.search(r"Refunded</span>\s*<small[^>]*>\s*<time [^>]*>[^<]*</time> by <bdi>", page)
    assert response["Location"] == purchase_page(
        buyer.environment, buyer.pk, bytes.fromhex(ledger_id)
    )
    undo_of(support, buyer)
    assert revenue(buyer) == (2, Decimal("14.99"))
    undo_of(support, buyer)  # undo of the undo
    assert revenue(buyer) == (1, Decimal("4.99"))
    response = support.post(reverse)
    assert tone_of(response) == "ok"
    assert revenue(buyer) == (2, Decimal("14.99"))
    entry = AuditEntry.objects.get(reason="Child bought it")
    assert (entry.action, (entry.after or {})["amount"]) == ("player.purchase_refunded", "10.00")


def test_refund__shows_product_and_player(support: Client, player: Player, public_api: Api) -> None:
    body = {"amount": 3, "product_id": "gems", "transaction_id": "t-1"}
    public_api.post(f"{PLAYERS}/{player.pk}/purchase", body)
    url = url_of(player.environment, "player_refund", player.pk, "t-1")
    assert f"{player.external_id} bought gems" in text_of(support.get(url))


@pytest.mark.parametrize("name", ["player_refund", "player_refund_reverse"])
def test_action_on_a_purchase__uses_the_digest_first(
    name: str, support: Client, buyer: Player, public_api: Api
) -> None:
    """A transaction id may equal the digest of another purchase."""
    ledger_id = bytes(Purchase.objects.get(transaction_id=None).digest).hex()
    body = {"amount": 1, "transaction_id": ledger_id}
    public_api.post(f"{PLAYERS}/{buyer.pk}/purchase", body)
    assert "10.00 USD" in text_of(support.get(url_of(buyer.environment, name, buyer.pk, ledger_id)))


def test_second_refund__is_422(support: Client, buyer: Player) -> None:
    purchase_refund(buyer, "t-1", actor=ACTOR)
    response = support.post(url_of(buyer.environment, "player_refund", buyer.pk, "t-1"))
    assert response.status_code == 422
    assert "is already refunded" in text_of(response)
    assert revenue(buyer) == (1, Decimal(10))


def test_reason_with_nul__is_stored_without_it(support: Client, buyer: Player) -> None:
    url = url_of(buyer.environment, "player_refund", buyer.pk, "t-1")
    assert support.post(url, {"reason": "A child\0 bought it"}).status_code == 302
    entry = AuditEntry.objects.get(action="player.purchase_refunded")
    assert entry.reason == "A child bought it"


def test_reversal_without_a_refund__is_422(support: Client, buyer: Player) -> None:
    response = support.post(url_of(buyer.environment, "player_refund_reverse", buyer.pk, "t-1"))
    assert response.status_code == 422
    assert "is not refunded" in text_of(response)


def test_unknown_purchase__is_404(support: Client, buyer: Player) -> None:
    for name in ("player_refund", "player_refund_reverse"):
        assert support.get(url_of(buyer.environment, name, buyer.pk, "t-9")).status_code == 404


# --- The audit log --------------------------------------------------------------------------------


def test_audit_log__offers_undo_to_support_only(support: Client, player: Player) -> None:
    entry = player_alias_link(player, "guest-7", actor=ACTOR)
    assert entry is not None
    undo = f'href="{url_of(player.environment, "audit_undo", entry.pk)}"'
    url = url_of(player.environment, "audit_list")
    page = text_of(support.get(url))
    assert undo in page
    assert "guest-7" in page.partition("<details>")[0]  # the id, without opening the details
    assert undo not in text_of(signed_in(Role.VIEWER).get(url))
