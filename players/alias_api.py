"""Endpoints that link external ids to players."""

import uuid
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse

from ilara_admin.api.dispatch import ApiRequest, respond
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, Code, invalid, not_found
from ilara_admin.core.audit import Actor
from ilara_admin.core.names import name_problem
from ilara_admin.models import ApiKey, KeyScope
from players import aliases, examples, schemas
from players.models import Player, player_id_for
from players.personal import mask_text
from players.record import UNKNOWN_PLAYER
from players.statements import find_player

NO_ALIAS = "The player has no such alias"


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.AliasLink,
    secret=True,
    docs=Docs(
        reply=schemas.PlayerAliases,
        statuses={201: "The id is linked.", 200: "The id was already linked to this player."},
        missing=(UNKNOWN_PLAYER,),
        conflict="“account_456” is linked to another player, player_789",
        examples=examples.ALIAS_LINK,
    ),
)
def alias_link(request: ApiRequest, player_id: uuid.UUID, body: schemas.AliasLink) -> HttpResponse:
    """Link another external id to a player, for example when a guest creates an account. Calls
    that take an external id then accept either; replies show the player's original one. An id that
    is registered as a player or linked to another player is refused."""
    if problem := name_problem(body.external_id):
        raise invalid(f"external_id {problem}", "external_id")

    def link(player: Player, actor: Actor) -> int:
        try:
            linked = aliases.player_alias_link(player, body.external_id, actor=actor)
        except ValidationError as error:
            # The body itself is valid, so this is a conflict.
            raise invalid(error.messages[0].rstrip("."), "external_id", 409) from None
        return 201 if linked else 200

    return _aliases(request, player_id, body.external_id, link)


@endpoint(
    "DELETE",
    scope=KeyScope.TRACK,
    secret=True,
    docs=Docs(
        reply=schemas.PlayerAliases,
        statuses={200: "The id is unlinked."},
        path={"external_id": schemas.AliasId},
        missing=(UNKNOWN_PLAYER, NO_ALIAS),
        examples=examples.ALIAS_UNLINK,
    ),
)
def alias_unlink(request: ApiRequest, player_id: uuid.UUID, external_id: str) -> HttpResponse:
    """Unlink an external id from a player. The next registration with it creates a new player. The
    id is percent-decoded and may contain slashes."""
    if "\0" in external_id:
        raise invalid("external_id must not contain the character NUL", "external_id")

    def unlink(player: Player, actor: Actor) -> int:
        if aliases.player_alias_unlink(player, external_id, actor=actor) is None:
            if problem := name_problem(external_id):
                raise invalid(f"external_id {problem}", "external_id")
            raise not_found(NO_ALIAS)
        return 200

    return _aliases(request, player_id, external_id, unlink)


def _aliases(
    request: ApiRequest,
    player_id: uuid.UUID,
    external_id: str,
    change: Callable[[Player, Actor], int],
) -> HttpResponse:
    """Change a player's aliases as the API key, and return them. The key is checked again after the
    locks are granted, as it may have been revoked during the wait."""
    find_player(request, player_id)
    with transaction.atomic():
        alias_id = player_id_for(request.snapshot.namespace, external_id)
        try:
            aliases.lock_for_link(request.snapshot.environment_id, player_id, alias_id)
        except aliases.BusyError as error:
            raise ApiError(
                Code.INTERNAL_ERROR, error.messages[0], status=503, headers={"Retry-After": "5"}
            ) from None
        find_player(request, player_id)
        player = Player.objects.select_related("environment__project").get(pk=player_id)
        status = change(player, Actor.of_key(ApiKey.objects.get(pk=request.api_key.id)))
        found = aliases.aliases_of(player.pk)
    if KeyScope.PERSONAL not in request.api_key.scopes:
        found = [each if each == external_id else mask_text(each) for each in found]
    return respond(schemas.PlayerAliases(player.pk, player.external_id, found), status=status)
