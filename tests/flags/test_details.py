"""The details of a flag: their checks, their texts, and the dialog."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from flags.details import (
    links_text,
    read_links,
    read_tags,
    tags_text,
    typed_links,
    typed_tags,
)
from flags.models import Flag
from flags.services import flag_clone, flag_restore, flag_set_details
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.core.path_error import PathError
from ilara_admin.models import Environment, Role
from tests.factories import ACTOR
from tests.form_fields import fields_of
from tests.pages import signed_in, text_of, url_of

TICKET = {"label": "Ticket", "url": "https://tracker.example/GAME-12"}
DESIGN = {"label": "Design of the shop", "url": "http://design.example/a?b=c#d"}


# --- As typed -------------------------------------------------------------------------------------


def test_tags__are_sorted_and_each_once() -> None:
    assert typed_tags(" shop,economy ,, season 3\neconomy") == ["economy", "season 3", "shop"]
    assert typed_tags(" \n,") == []
    assert typed_tags(tags_text(["a", "b c"])) == ["a", "b c"]


def test_links__are_one_per_line_with_the_host_for_a_missing_label() -> None:
    typed = typed_links("  Ticket   https://a.example/1\n\nhttps://b.example:8000/x ")
    assert typed == [
        {"label": "Ticket", "url": "https://a.example/1"},
        {"label": "b.example", "url": "https://b.example:8000/x"},
    ]
    assert typed_links(links_text([TICKET, DESIGN])) == [TICKET, DESIGN]


@pytest.mark.parametrize(
    "line",
    [
        "Ticket", "Ticket javascript:alert(1)", "Ticket //a.example", "Ticket ftp://a.example/x",
        "Ticket https://", "Ticket data:text/html,x", "https://[::1", "Ticket JAVASCRIPT:alert(1)",
        "Ticket https://a.example/\u202e1", "Ticket https://a.example/" + "x" * 500,
    ],
)  # fmt: skip
def test_line_without_a_web_address__is_refused_with_its_number(line: str) -> None:
    with pytest.raises(PathError, match="Line 2: write a label and an address"):
        typed_links(f"Design https://d.example\n{line}")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("shop", "Must be a list of texts."),
        ({"a": 1}, "Must be a list of texts."),
        (["ok", ""], "[1]: A tag is a text of 1 to 50 characters."),
        (["x" * 51], "[0]: A tag is a text of 1 to 50 characters."),
        ([3], "[0]: A tag is a text of 1 to 50 characters."),
        (["a,b"], "[0]: A tag has no commas, line breaks or control characters."),
        (["a\nb"], "[0]: A tag has no commas, line breaks or control characters."),
        ([" a"], "[0]: A tag must not begin or end with a space or an invisible character"),
        ([str(number) for number in range(21)], "A flag has 20 tags at most."),
    ],
)
def test_invalid_tags__are_refused_with_the_path(tags: Any, message: str) -> None:
    with pytest.raises(PathError) as caught:
        read_tags(tags)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ("https://a.example", "Must be a list of objects with label and url."),
        (["https://a.example"], "[0]: Must be an object with label and url."),
        ([{"label": "x"}], "[0]: Must be an object with label and url."),
        ([TICKET, {**TICKET, "rel": "x"}], "[1]: Must be an object with label and url."),
        ([{**TICKET, "label": ""}], "[0].label: A label is a text of 1 to 100 characters."),
        ([{**TICKET, "url": "javascript:alert(1)"}], "[0].url: Give an address that begins with"),
        ([{**TICKET, "url": 3}], "[0].url: Give an address that begins with"),
        ([TICKET] * 21, "A flag has 20 links at most."),
    ],
)
def test_invalid_links__are_refused_with_the_path(links: Any, message: str) -> None:
    with pytest.raises(PathError) as caught:
        read_links(links)
    assert str(caught.value).startswith(message)


# --- Saved ----------------------------------------------------------------------------------------


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return Flag.objects.select_related("environment").get(
        environment=environment, key="new_tutorial"
    )


def test_tags_and_links__are_in_revisions_the_audit_log_undo_restore_and_clones(
    flag: Flag,
) -> None:
    before = flag.details
    saved, entry = flag_set_details(
        flag, {"tags": ["shop", "economy"], "links": [TICKET]}, actor=ACTOR, reason="Planned"
    )
    assert entry
    assert entry.before == {"tags": [], "links": []}
    assert entry.after == {"tags": ["economy", "shop"], "links": [TICKET]}
    revision = flag.revisions.get(number=2)
    assert (revision.details, revision.reason) == (saved.details, "Planned")
    assert flag_clone(saved, key="copy", actor=ACTOR).tags == ["economy", "shop"]

    undo(entry, actor=ACTOR)
    flag.refresh_from_db()
    assert flag.details == before
    restored, _ = flag_restore(flag, 2, base_revision=3, actor=ACTOR)
    assert restored.details == saved.details


def test_details_of_a_flag_that_cannot_be_read__can_be_saved_and_undone(flag: Flag) -> None:
    Flag.objects.filter(pk=flag.pk).update(document={"broken": True})
    _, entry = flag_set_details(flag, {"owner": "Ada"}, actor=ACTOR)
    assert entry
    undo(entry, actor=ACTOR)
    flag.refresh_from_db()
    assert (flag.owner, flag.document) == ("", {"broken": True})


def test_service__refuses_other_addresses_and_long_tags(flag: Flag) -> None:
    for details in ({"links": [{"label": "x", "url": "javascript:x"}]}, {"tags": ["x" * 51]}):
        with pytest.raises(ValidationError):
            flag_set_details(flag, details, actor=ACTOR)


def test_details__conflict_only_where_both_changed_them(flag: Flag) -> None:
    seen = flag.details
    flag_set_details(flag, {"owner": "Ada"}, actor=ACTOR)
    mine = {**seen, "tags": ["mine"]}
    saved, _ = flag_set_details(flag, mine, seen=seen, actor=ACTOR)
    assert (saved.owner, saved.tags) == ("Ada", ["mine"])
    with pytest.raises(Conflict):
        flag_set_details(flag, {**mine, "owner": "Grace"}, seen=seen, actor=ACTOR)


def test_tags_in_use__are_those_of_the_flags(environment: Environment, flag: Flag) -> None:
    flag_set_details(flag, {"tags": ["shop", "economy"]}, actor=ACTOR)
    other = Flag.objects.select_related("environment").get(
        environment=environment, key="new-feature"
    )
    flag_set_details(other, {"tags": ["shop", "ui"]}, actor=ACTOR)
    assert Flag.objects.of(environment).tags() == ["economy", "shop", "ui"]


# --- The dialog -----------------------------------------------------------------------------------


def test_dialog__saves_text_as_tags_and_links(environment: Environment, flag: Flag) -> None:
    client = signed_in(Role.LIVE_OPS)
    url = url_of(environment, "flag_details", flag.key)
    typed = {"tags": "shop, economy", "links": links_text([DESIGN]), "expected_end": "2031-01-31"}
    wrong = client.post(url, {**typed, "links": "nowhere"})
    assert wrong.status_code == 422
    assert "Line 1: write a label and an address" in text_of(wrong)
    assert client.post(url, typed).status_code == 302
    flag.refresh_from_db()
    assert (flag.tags, flag.links) == (["economy", "shop"], [DESIGN])
    page = text_of(client.get(url_of(environment, "flag_detail", flag.key)))
    assert 'href="http://design.example/a?b=c#d"' in page
    form = text_of(client.get(url))
    assert 'value="economy, shop"' in form
    assert '<option value="shop" data-tag="shop">' in form


def test_dialog__shows_a_conflict_and_can_overwrite(environment: Environment, flag: Flag) -> None:
    client = signed_in(Role.LIVE_OPS)
    url = url_of(environment, "flag_details", flag.key)
    mine = {**client.get(url).context["page"].form.initial, "owner": "Grace"}
    flag_set_details(flag, {"owner": "Ada"}, actor=ACTOR)
    conflict = client.post(url, mine)
    assert conflict.status_code == 409
    again = fields_of(text_of(conflict), "conflict")
    assert client.post(conflict.context["save_url"], again).status_code == 302
    flag.refresh_from_db()
    assert flag.owner == "Grace"
