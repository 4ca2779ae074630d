"""The Players API of linked external ids."""

import uuid
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse

from ilara_admin.api import ApiRequest, endpoint, respond
from ilara_admin.audit import Actor
from ilara_admin.errors import ApiError, Code, invalid, not_found
from ilara_admin.models import ApiKey
from players import aliases, schemas
from players.lookup import find_player
from players.models import Player


@endpoint("POST", body=schemas.AliasLink, secret=True)
def alias_link(request: ApiRequest, player_id: uuid.UUID, body: schemas.AliasLink) -> HttpResponse:
    """Let another external id mean this player: 201, or 200 when it did before."""

    def link(player: Player, actor: Actor) -> int:
        try:
            linked = aliases.player_alias_link(player, body.external_id, actor=actor)
        except ValidationError as error:
            raise invalid(error.messages[0].rstrip("."), "external_id") from None
        return 201 if linked else 200

    return _aliases(request, player_id, link)


@endpoint("DELETE", secret=True)
def alias_unlink(request: ApiRequest, player_id: uuid.UUID, external_id: str) -> HttpResponse:
    """Let an alias mean nobody again."""
    if "\0" in external_id:
        raise invalid("external_id must not contain the character NUL", "external_id")

    def unlink(player: Player, actor: Actor) -> int:
        if aliases.player_alias_unlink(player, external_id, actor=actor) is None:
            raise not_found("The player has no such alias")
        return 200

    return _aliases(request, player_id, unlink)


def _aliases(
    request: ApiRequest, player_id: uuid.UUID, act: Callable[[Player, Actor], int]
) -> HttpResponse:
    """Do something to a player's aliases in the name of the key, and show them. The key is checked
    again once nobody else can write: one revoked while this waited changes nothing."""
    find_player(request, player_id)
    with transaction.atomic():
        try:
            aliases.lock()
        except aliases.BusyError as error:
            raise ApiError(
                Code.INTERNAL_ERROR, error.messages[0], status=503, headers={"Retry-After": "5"}
            ) from None
        find_player(request, player_id)
        player = Player.objects.select_related("environment__project").get(pk=player_id)
        status = act(player, Actor.of_key(ApiKey.objects.get(pk=request.api_key.id)))
        found = aliases.aliases_of(player.pk)
    return respond(schemas.PlayerAliases(player.pk, player.external_id, found), status=status)
