"""The Players API."""

import re
import uuid
from datetime import UTC
from itertools import chain
from typing import Any

import msgspec
from django.db import IntegrityError
from django.http import HttpResponse
from django.urls import path, register_converter
from django.urls.converters import StringConverter
from msgspec import UNSET

from ilara_admin.api.bodies import client_id, digest_of, parse_moment, parse_uuid, read_object
from ilara_admin.api.dispatch import ApiRequest, respond, route, run, run_one
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import invalid
from ilara_admin.core import db
from ilara_admin.core.db import Row
from ilara_admin.core.names import name_problem
from ilara_admin.models import KeyScope
from players import examples, schemas, statements
from players.alias_api import alias_link, alias_unlink
from players.insight_api import churn_risk, player_lifecycle
from players.models import attributes_problem, player_id_for
from players.money import parse_amount
from players.personal import mask_device, mask_email, masked
from players.record import (
    UNKNOWN_PLAYER,
    PlayerRow,
    player_of,
    stage_of,
    thresholds_of,
)
from players.statements import find_player, player_or_404, unknown_player

PAGE_SIZE = re.compile("[0-9]{1,9}")
FIRST_ID = uuid.UUID(int=0)


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.PlayerRegister,
    basic=True,
    docs=Docs(
        reply=schemas.PlayerDetails,
        statuses={201: "The new player.", 200: "The updated player."},
        examples=examples.REGISTER,
    ),
)
def player_register(request: ApiRequest, body: schemas.PlayerRegister) -> HttpResponse:
    """Register a player, or update the player with this external id. The returned `id` is derived
    from the external id, so it never changes; all other calls take it. Updates `last_seen_at`."""
    if problem := name_problem(body.external_id):
        raise invalid(f"external_id {problem}", "external_id")
    changes = _changes(body)
    attributes, *removed = changes.get("attributes", ["{}"])
    row = _write(
        request,
        statements.upsert(tuple(changes)),
        [
            player_id_for(request.snapshot.namespace, body.external_id),
            body.external_id,
            *changes.get("device_id", [None]),
            *changes.get("email", [None]),
            attributes,
            request.snapshot.at_risk_days,
            request.snapshot.churned_days,
            *removed,
        ],
    )
    player = player_of(row[1:])
    return respond(_player(request, player, body), status=201 if row[0] else 200)


@endpoint(
    "GET",
    scope=KeyScope.READ,
    secret=True,
    docs=Docs(
        reply=schemas.PlayerPage,
        query=schemas.PlayerListQuery,
        invalid=f"limit must be a number from 1 to {schemas.MAX_PAGE}",
        examples=examples.LIST,
    ),
)
def player_list(request: ApiRequest) -> HttpResponse:
    """List the players, ordered by id. Pass `next_cursor` as `cursor` to get the next page."""
    limit = _limit(request)
    cursor = request.GET.get("cursor")
    after = parse_uuid(cursor, "cursor") if cursor else FIRST_ID
    rows = run(request, statements.LIST, [after, limit + 1])
    players = [player_of(row) for row in rows if row[0] is not None]
    page = [_player(request, player) for player in players[:limit]]
    more = len(players) > limit
    return respond(schemas.PlayerPage(page, str(page[-1].id) if more else None))


@endpoint(
    "GET",
    scope=KeyScope.READ,
    docs=Docs(reply=schemas.PlayerDetails, missing=(UNKNOWN_PLAYER,), examples=examples.GET),
)
def player_get(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """Get a player. Does not change `last_seen_at`."""
    return respond(_player(request, find_player(request, player_id)))


@endpoint(
    "GET",
    scope=KeyScope.READ,
    docs=Docs(
        reply=schemas.PlayerDetails,
        path={"external_id": schemas.ExternalId},
        invalid="external_id must not contain the character NUL",
        missing=(UNKNOWN_PLAYER,),
        examples=examples.GET,
    ),
)
def player_get_by_external_id(request: ApiRequest, external_id: str) -> HttpResponse:
    """Get a player by external id. The id is percent-decoded and may contain slashes."""
    if "\0" in external_id:
        raise invalid("external_id must not contain the character NUL", "external_id")
    player_id = player_id_for(request.snapshot.namespace, external_id)
    row = run_one(request, statements.FIND_BY_EXTERNAL_ID, [player_id])
    if row[0] is None:
        if problem := name_problem(external_id):
            raise invalid(f"external_id {problem}", "external_id")
        raise unknown_player(request, external_id)
    return respond(_player(request, player_of(row)))


@endpoint(
    "PATCH",
    scope=KeyScope.TRACK,
    body=schemas.PlayerPatch,
    docs=Docs(
        reply=schemas.PlayerDetails,
        statuses={200: "The updated player."},
        missing=(UNKNOWN_PLAYER,),
        examples=examples.PATCH,
    ),
)
def player_patch(
    request: ApiRequest, player_id: uuid.UUID, body: schemas.PlayerPatch
) -> HttpResponse:
    """Change device_id, email or attributes; at least one is required. Attributes merge at the top
    level. Null clears device_id or email, and removes an attribute. Empty text changes nothing."""
    unset = body.device_id is UNSET and body.email is UNSET and body.attributes is UNSET
    # Empty text counts as absent, but is not the mistake of a body without known fields.
    if unset and not schemas.PATCHED.intersection(read_object(request) or {}):
        unknown = f". Unknown: {', '.join(request.ignored)}" if request.ignored else ""
        raise invalid(f"Nothing to change: give device_id, email or attributes{unknown}")
    changes = _changes(body)
    if changes:
        values = [player_id, *chain.from_iterable(changes.values())]
        row = _write(request, statements.patch(tuple(changes)), values)
        player = player_or_404(request, player_id, row)
    else:
        player = find_player(request, player_id)
    return respond(_player(request, player, body))


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.SessionRecord,
    docs=Docs(
        reply=schemas.PlayerDetails,
        statuses={200: "The player, also if the session was already counted."},
        headers=("Idempotency-Key",),
        repeats=True,
        missing=(UNKNOWN_PLAYER,),
        examples=examples.SESSION,
    ),
)
def session_record(
    request: ApiRequest, player_id: uuid.UUID, body: schemas.SessionRecord
) -> HttpResponse:
    """Record a session. Each `session_id` counts once, so retries are safe; without one every call
    counts. Of a repeated id the first session stays, and the header `X-Ilara-Conflict` names the
    fields that differ. Updates `last_seen_at`."""
    started_at = None
    if body.started_at is not None:
        started_at = parse_moment(body.started_at, "started_at")
    session_id = client_id(request, body.session_id)
    digest = digest_of(session_id)
    seconds = None if body.duration_seconds is None else int(body.duration_seconds)
    recorded, *row = _write(
        request,
        statements.session(),
        [
            player_id,
            digest,
            session_id,
            started_at,
            seconds,
            request.snapshot.at_risk_days,
            request.snapshot.churned_days,
        ],
        safe_to_repeat=session_id is not None,
    )
    player = player_or_404(request, player_id, tuple(row))
    if not recorded:
        sent = [player_id, digest, started_at, seconds]
        request.conflicts = _conflicts(statements.SESSION_CONFLICTS, sent)
    return respond(_player(request, player))


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.PurchaseRecord,
    exact_numbers=True,
    docs=Docs(
        reply=schemas.PlayerDetails,
        statuses={200: "The player, also if the purchase was already counted."},
        query=schemas.PurchaseQuery,
        headers=("Idempotency-Key",),
        repeats=True,
        missing=(UNKNOWN_PLAYER,),
        examples=examples.PURCHASE,
    ),
)
def purchase_record(
    request: ApiRequest, player_id: uuid.UUID, body: schemas.PurchaseRecord
) -> HttpResponse:
    """Record a purchase. Each `transaction_id` counts once per environment, so retries are safe;
    without one every call counts. Of a repeated id the first purchase stays, and the header
    `X-Ilara-Conflict` names the fields that differ: `player_id` if it is another player's. The
    amount is required, in the body or as `?amount=4.99`; if in both, they must be equal. It is
    judged by value and may have the decimal places of its currency (ISO 4217): 1.234 KWD, 4.990 USD
    and 100.00 JPY are fine, 4.99 JPY is not. Updates `last_seen_at`."""
    currency = (body.currency or request.snapshot.currency).upper()
    amount = parse_amount(body.amount, request.GET.get("amount"), currency)
    transaction_id = client_id(request, body.transaction_id)
    digest = digest_of(transaction_id)
    recorded, *row = _write(
        request,
        statements.purchase(),
        [
            player_id,
            digest,
            transaction_id,
            amount,
            currency,
            currency == request.snapshot.currency,
            request.api_key.secret,
            body.product_id,
            request.snapshot.at_risk_days,
            request.snapshot.churned_days,
        ],
        safe_to_repeat=transaction_id is not None,
    )
    player = player_or_404(request, player_id, tuple(row))
    if not recorded:
        sent_currency = body.currency and currency
        sent = [request.snapshot.environment_id, digest, amount, sent_currency, body.product_id]
        request.conflicts = _conflicts(statements.PURCHASE_CONFLICTS, [*sent, player_id])
    return respond(_player(request, player))


# --- Helpers ------------------------------------------------------------------------------------


def _write(request: ApiRequest, sql: str, params: list[Any], *, safe_to_repeat: bool = True) -> Row:
    try:
        return run_one(request, sql, params, safe_to_repeat=safe_to_repeat)
    except IntegrityError as error:
        problem = attributes_problem(error)
        if problem is None:
            raise
        raise invalid(problem, "attributes") from None


def _conflicts(sql: str, sent: list[Any]) -> tuple[str, ...]:
    """The names of fields that differ from those stored under the same id, none if it is gone."""
    row = db.fetch_one(sql, sent, safe_to_repeat=True)
    return tuple(row[0]) if row else ()


def _changes(body: schemas.PlayerRegister | schemas.PlayerPatch) -> dict[str, list[Any]]:
    """The values of the columns that a body gives: of attributes, those to merge as JSON text, and
    the names to remove."""
    changes: dict[str, list[Any]] = {}
    if body.device_id is not UNSET:
        changes["device_id"] = [body.device_id]
    if body.email is not UNSET:
        changes["email"] = [body.email]
    if isinstance(body.attributes, dict) and body.attributes:
        merged = {name: value for name, value in body.attributes.items() if value is not None}
        removed = [name for name, value in body.attributes.items() if value is None]
        changes["attributes"] = [msgspec.json.encode(merged).decode(), removed]
    return changes


def _player(
    request: ApiRequest,
    player: PlayerRow,
    sent: schemas.PlayerRegister | schemas.PlayerPatch | None = None,
) -> schemas.PlayerDetails:
    """The player as the key may see it; the values in `sent` are known to the caller."""
    if KeyScope.PERSONAL not in request.api_key.scopes:
        player = _masked(request, player, sent)
    return schemas.PlayerDetails(
        id=player.id,
        external_id=player.external_id,
        device_id=player.device_id,
        email=player.email,
        lifecycle_stage=stage_of(player, thresholds_of(request.snapshot), request.now),
        session_count=player.session_count,
        total_revenue=player.total_revenue,
        is_payer=player.purchase_count > 0,
        first_seen_at=player.first_seen_at.astimezone(UTC),
        last_seen_at=player.last_seen_at.astimezone(UTC),
        attributes=player.attributes,
    )


def _masked(
    request: ApiRequest,
    player: PlayerRow,
    sent: schemas.PlayerRegister | schemas.PlayerPatch | None,
) -> PlayerRow:
    """Public keys see all but the e-mail: the other values are those of the game itself."""
    if sent is None or sent.email is UNSET:
        player = player._replace(email=mask_email(player.email))
    if not request.api_key.secret:
        return player
    if sent is None or sent.device_id is UNSET:
        player = player._replace(device_id=mask_device(player.device_id))
    known = set(sent.attributes or ()) if sent and sent.attributes is not UNSET else set()
    personal = request.snapshot.personal_attributes - known
    return player._replace(attributes=masked(player.attributes, personal))


def _limit(request: ApiRequest) -> int:
    text = request.GET.get("limit") or str(schemas.DEFAULT_PAGE)
    if not (PAGE_SIZE.fullmatch(text) and 1 <= int(text) <= schemas.MAX_PAGE):
        raise invalid(f"limit must be a number from 1 to {schemas.MAX_PAGE}", "limit")
    return int(text)


class AnyTextConverter(StringConverter):
    """The rest of the path, including slashes and newlines; Django's `path` stops at a newline."""

    regex = r"[\s\S]+"


register_converter(AnyTextConverter, "any_text")

urlpatterns = [
    path("players/players", route(player_register, player_list)),
    path("players/players/external/<any_text:external_id>", route(player_get_by_external_id)),
    path("players/players/<str:player_id>", route(player_get, player_patch)),
    path("players/players/<str:player_id>/session", route(session_record)),
    path("players/players/<str:player_id>/purchase", route(purchase_record)),
    path("players/players/<str:player_id>/lifecycle", route(player_lifecycle)),
    path("players/players/<str:player_id>/churn-risk", route(churn_risk)),
    path("players/players/<str:player_id>/aliases", route(alias_link)),
    path("players/players/<str:player_id>/aliases/<any_text:external_id>", route(alias_unlink)),
]
