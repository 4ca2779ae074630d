"""The API reference in the dashboard is complete, searchable and correct."""

import re
from html import unescape

import pytest
from django.test import Client
from django.utils.html import strip_tags

from flags.engine.evaluation import Reason
from ilara_admin.api.enums import DocumentedEnum
from ilara_admin.api.errors import Code
from ilara_admin.apidocs.openapi import document
from ilara_admin.apidocs.operations import Operation, operations
from ilara_admin.apidocs.reference import entries, groups
from ilara_admin.apidocs.reference_views import LANGUAGE_COOKIE
from ilara_admin.core.projects import environment_update
from ilara_admin.models import Environment, KeyKind, Role
from tests.factories import ACTOR, make_key
from tests.pages import HTMX, signed_in, squeezed, text_of, url_of

each_operation = pytest.mark.parametrize("operation", operations(), ids=lambda each: each.id)
HOST = "http://testserver"


@pytest.fixture
def viewer(db: None) -> Client:
    return signed_in(Role.VIEWER)


def page(client: Client, environment: Environment, operation_id: str, query: str = "") -> str:
    url = url_of(environment, "reference_operation", operation_id)
    return unescape(squeezed(text_of(client.get(url + query))))


def found(q: str) -> list[str]:
    return [hit.entry.id for _, _, hits in groups(q) for hit in hits]


def visible_text(html: str) -> str:
    """The text of the page, on one line."""
    main = html.partition("<main")[2].replace("</dt>", "</dt> ")
    return " ".join(strip_tags(main).split())


# --- The list -------------------------------------------------------------------------------------


def test_list__is_every_operation_with_a_link_to_its_page(
    viewer: Client, environment: Environment
) -> None:
    html = unescape(text_of(viewer.get(url_of(environment, "reference"))))
    linked = re.findall(r'href="[^"]*/reference/(\w+)/">(.+?)</a>', html)
    assert linked == [(each.id, each.summary) for each in operations()]
    called = re.findall(r"<span>(\w+)</span> <span>(/[^<]+)<", html)
    assert called == [(each.method, each.path) for each in operations()]
    assert f'href="{HOST}/v1/openapi.json" download=' in html


@pytest.mark.parametrize(
    ("q", "ids"),
    [
        ("purchase", {"purchase_record"}),
        ("PATCH", {"player_patch"}),
        ("post purchase", {"purchase_record"}),
        ("churn", {"churn_risk"}),
        ("/events/batch", {"event_batch"}),
        ("transaction_id", {"purchase_record"}),
        ("Last-Event-ID", {"event_stream"}),
        ("nearest_miss", {"flag_evaluate", "flag_evaluate_all"}),
        ("nonsense", set()),
        ("purchase nonsense", set()),
    ],
)
def test_search__matches_method_path_texts_and_fields(q: str, ids: set[str]) -> None:
    assert ids <= set(found(q))
    assert len(found(q)) <= len(ids) + 2


def test_search__shows_the_matching_field_if_nothing_else_matches() -> None:
    hits = {hit.entry.id: hit.fields for _, _, hits in groups("transaction") for hit in hits}
    assert hits["purchase_record"] == ("transaction_id",)
    assert {hit.fields for _, _, hits in groups("POST") for hit in hits} == {()}


def test_search__works_as_a_page_and_as_a_fragment(
    viewer: Client, environment: Environment
) -> None:
    url = url_of(environment, "reference")
    whole = unescape(text_of(viewer.get(url, {"q": "purchase"})))
    assert "/purchase_record/" in whole
    assert "/session_record/" not in whole
    part = viewer.get(url, {"q": "purchase"}, headers=HTMX)
    assert "<html" not in text_of(part)
    assert "/purchase_record/" in text_of(part)
    assert part["HX-Push-Url"] == f"{url}?q=purchase"
    nothing = text_of(viewer.get(url, {"q": "<nonsense>\0" * 100}))
    assert "No calls match" in nothing
    assert "<nonsense>" not in nothing


@pytest.mark.parametrize("restricted", [False, True])
def test_keys__depend_on_the_settings_of_the_environment(
    viewer: Client, environment: Environment, restricted: bool
) -> None:
    environment_update(environment, {"public_keys_restricted": restricted}, actor=ACTOR)
    html = squeezed(text_of(viewer.get(url_of(environment, "reference"))))
    assert ("Public keys are restricted" in html) == restricted
    for operation in operations():
        row = next(row for row in html.split("<tr>") if f"/reference/{operation.id}/" in row)
        secret = operation.endpoint.secret or (restricted and operation.restricted)
        assert (">Secret<" in row) == secret, operation.id
        shown = '<p class="muted">Needs a secret key' in page(viewer, environment, operation.id)
        assert shown == secret, operation.id


# --- A page ---------------------------------------------------------------------------------------


@each_operation
def test_page__shows_all_that_is_published(
    operation: Operation, viewer: Client, environment: Environment
) -> None:
    entry, html = entries()[operation.id], page(viewer, environment, operation.id)
    text_shown = visible_text(html)
    assert f"{operation.method} {operation.path}" in text_shown
    assert operation.text.replace("`", "") in text_shown
    for limit in operation.limits:
        assert limit in text_shown
    for parameter in operation.parameters:
        assert f"<code>{parameter.name}</code>" in html
        assert parameter.text.replace("`", "") in text_shown
    for name in entry.names():
        assert f"<code>{name}</code>" in html
    for status, text in operation.statuses.items():
        assert f"{status} {text}" in text_shown
    for refusal in operation.refusals:
        assert re.search(rf'<td class="mono">{refusal.error.status}\s*<', html)
        assert refusal.error.message in text_shown
    for answer in entry.answers:
        assert f'<pre tabindex="0">{answer.text}</pre>' in html
    for other in entry.related:
        assert f"/reference/{other.id}/" in html


def test_every_field_of_the_specification__is_on_a_page() -> None:
    """The names of all components of bodies and replies, except those of the envelope."""
    documented = {name for entry in entries().values() for name in entry.names()}
    schemas = document()["components"]["schemas"]
    envelope = {"Success", "Failure", "Fault", "Detail", "OfrepFailure"}
    for schema in (each for name, each in schemas.items() if name not in envelope):
        assert set(schema.get("properties", {})) <= documented


@pytest.mark.parametrize(
    ("operation_id", "names"),
    [
        ("flag_evaluate", ["Reason"]),
        ("flag_evaluate_all", ["Reason"]),
        ("player_lifecycle", ["Stage"]),
        ("player_get", ["Stage"]),
        ("churn_risk", ["RiskLevel", "FactorName"]),
        ("experiment_results", ["ResultVerdict"]),
        ("event_track", ["Status"]),
        ("event_batch", ["RejectionCode"]),
        ("ofrep_evaluate", ["OfrepReason"]),
    ],
)
def test_values_of_enumerations__are_listed_with_their_descriptions(
    operation_id: str, names: list[str], viewer: Client, environment: Environment
) -> None:
    text_shown = visible_text(page(viewer, environment, operation_id))
    by_name = {each.__name__: each for each in DocumentedEnum.__subclasses__()}
    for name in names:
        for member in by_name[name]:
            assert f"{member.value} {member.meaning.replace('`', '')}" in text_shown


def test_reasons_and_codes__are_complete(viewer: Client, environment: Environment) -> None:
    html = page(viewer, environment, "flag_evaluate")
    values = re.findall(r"<dt><code>(\w+)</code></dt>", html.partition("reply-title")[2])
    assert values[: len(Reason)] == list(Reason)
    codes = {error.code for entry in entries().values() for error in entry.errors}
    assert set(Code) <= codes


def test_page_of_unknown_operation__is_404(viewer: Client, environment: Environment) -> None:
    for made_up in ("nonsense", "Player_Get", "player-get"):
        url = url_of(environment, "reference_operation", made_up)
        assert viewer.get(url).status_code == 404


# --- Samples --------------------------------------------------------------------------------------


def test_samples__have_the_host_of_the_request_and_the_key_prefix(environment: Environment) -> None:
    client = signed_in(Role.VIEWER, headers={"host": "localhost:18082"})
    assert 'export ILARA_KEY="pk_live_…"' in page(client, environment, "player_get")
    assert 'export ILARA_KEY="sk_live_…"' in page(client, environment, "player_list")
    key = make_key(environment, KeyKind.SECRET)
    html = page(client, environment, "player_list")
    assert f'export ILARA_KEY="{key.key.prefix}…"' in html
    assert key.token not in html
    assert 'curl "http://localhost:18082/v1/players/players?limit=50"' in html
    assert "ILARA_KEY" not in page(client, environment, "specification")


def test_language__applies_to_all_pages(viewer: Client, environment: Environment) -> None:
    assert "curl -X POST" in page(viewer, environment, "purchase_record")
    html = page(viewer, environment, "purchase_record", "?lang=python")
    assert "ilara.record_purchase(" in html
    assert re.search(r'href="[^"]*\?lang=python"[^>]* aria-current="true">Python</a>', html)
    assert viewer.cookies[LANGUAGE_COOKIE].value == "python"
    assert "ilara.record_session(" in page(viewer, environment, "session_record")
    assert "curl -X POST" in page(viewer, environment, "ofrep_evaluate"), "only curl"
    assert "client.RecordSession(" in page(viewer, environment, "session_record", "?lang=go")
    assert "client.RecordPurchase(" in page(viewer, environment, "purchase_record")


def test_unknown_language__changes_nothing(viewer: Client, environment: Environment) -> None:
    assert "curl -X POST" in page(viewer, environment, "purchase_record", "?lang=<cobol>")
    assert LANGUAGE_COOKIE not in viewer.cookies


def test_language__can_be_swapped_alone(viewer: Client, environment: Environment) -> None:
    url = url_of(environment, "reference_operation", "purchase_record")
    part = viewer.get(url, {"lang": "node"}, headers=HTMX)
    html = unescape(text_of(part))
    assert html.lstrip().startswith('<section class="panel" id="sample"')
    assert "ilara.recordPurchase(" in html
    assert "HX-Request" in part["Vary"]
