"""The Players API of linked external ids."""

import uuid
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse

from ilara_admin.api.dispatch import ApiRequest, respond
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, Code, invalid, not_found
from ilara_admin.core.audit import Actor
from ilara_admin.models import ApiKey
from players import aliases, examples, schemas
from players.models import Player, player_id_for
from players.record import NOT_FOUND
from players.statements import find_player

NO_ALIAS = "The player has no such alias"


@endpoint(
    "POST",
    body=schemas.AliasLink,
    secret=True,
    docs=Docs(
        reply=schemas.PlayerAliases,
        statuses={201: "The id is linked.", 200: "The id was linked to this player before."},
        missing=(NOT_FOUND,),
        conflict="“account_456” is linked to another player, player_789",
        examples=examples.ALIAS_LINK,
    ),
)
def alias_link(request: ApiRequest, player_id: uuid.UUID, body: schemas.AliasLink) -> HttpResponse:
    """Link another external id to a player. From now on it means this player wherever an external
    id is given: the guest's, once the guest has an account. Replies go on showing the player's own.
    An id that is a player of its own, or linked to another, is refused."""

    def link(player: Player, actor: Actor) -> int:
        try:
            linked = aliases.player_alias_link(player, body.external_id, actor=actor)
        except ValidationError as error:
            # What the body alone can be wrong about was refused before.
            raise invalid(error.messages[0].rstrip("."), "external_id", 409) from None
        return 201 if linked else 200

    return _aliases(request, player_id, body.external_id, link)


@endpoint(
    "DELETE",
    secret=True,
    docs=Docs(
        reply=schemas.PlayerAliases,
        statuses={200: "The id means nobody again."},
        path={"external_id": schemas.AliasId},
        missing=(NOT_FOUND, NO_ALIAS),
        examples=examples.ALIAS_UNLINK,
    ),
)
def alias_unlink(request: ApiRequest, player_id: uuid.UUID, external_id: str) -> HttpResponse:
    """Unlink an external id from a player. It means nobody again: the next registration by it is a
    player of its own. It is percent-decoded and may hold slashes."""
    if "\0" in external_id:
        raise invalid("external_id must not contain the character NUL", "external_id")

    def unlink(player: Player, actor: Actor) -> int:
        if aliases.player_alias_unlink(player, external_id, actor=actor) is None:
            raise not_found(NO_ALIAS)
        return 200

    return _aliases(request, player_id, external_id, unlink)


def _aliases(
    request: ApiRequest,
    player_id: uuid.UUID,
    external_id: str,
    act: Callable[[Player, Actor], int],
) -> HttpResponse:
    """Change a player's aliases in the name of the key, and return them. The key is checked again
    once the locks are granted: one revoked during the wait changes nothing."""
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
        status = act(player, Actor.of_key(ApiKey.objects.get(pk=request.api_key.id)))
        found = aliases.aliases_of(player.pk)
    return respond(schemas.PlayerAliases(player.pk, player.external_id, found), status=status)
