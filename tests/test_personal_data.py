"""Below the role support, no page, fragment, file or stream shows personal data of players; from
support up they are shown. Times are in the reader's zone everywhere, with UTC beside."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

import pytest
from django.test import Client

from flags.models import Flag
from flags.overrides import override_set
from ilara_admin.core.projects import environment_update
from ilara_admin.models import KeyKind, Role, User
from players.aliases import player_alias_link, player_alias_unlink
from players.models import Player
from players.schemas import PlayerPatch
from players.services import player_update
from segments.lists.services import ids_add
from segments.models import Segment
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import (
    ACTOR,
    World,
    make_environment,
    make_freeze,
    make_key,
    make_request,
    make_staff,
)
from tests.pages import wait_for_followers
from tests.walk import texts_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# What a page must not show, by the field that holds it. Masks keep less than these.
SECRETS = {
    "email": "hidden-mail-q7",
    "former email": "hidden-mail-k3",
    "device": "hidden-device-q7",
    "former device": "hidden-device-k3",
    "linked id": "hidden-guest-q7",
    "former linked id": "hidden-guest-k3",
    "listed linked id": "hidden-listed-q7",
    "attribute": "hidden-nick-q7",
    "former attribute": "hidden-nick-k3",
    "property": "hidden-street-q7",
}
MAIL = "{}@example.com"


class Known(NamedTuple):
    world: World
    typed: list[str]  # into every filter


@pytest.fixture
def known() -> Iterator[Known]:
    environment = make_environment()
    settings = {
        "personal_attributes": ["nick"],
        "personal_properties": ["street"],
        "searchable_attributes": ["nick"],
    }
    environment_update(environment, settings, actor=ACTOR)
    environment.refresh_from_db()
    key, secret = make_key(environment), make_key(environment, KeyKind.SECRET)
    api = Api(secret.token)
    body = {
        "external_id": "player_123",
        "email": MAIL.format(SECRETS["former email"]),
        "device_id": SECRETS["former device"],
        "attributes": {"nick": SECRETS["former attribute"], "level": 45},
    }
    player = Player.objects.get(pk=api.post(PLAYERS, body).data["id"])
    entry = player_update(
        player,
        PlayerPatch(
            email=MAIL.format(SECRETS["email"]),
            device_id=SECRETS["device"],
            attributes={"nick": SECRETS["attribute"]},
        ),
        actor=ACTOR,
    )
    assert entry
    player_alias_link(player, SECRETS["former linked id"], actor=ACTOR)
    player_alias_unlink(player, SECRETS["former linked id"], actor=ACTOR)
    player_alias_link(player, SECRETS["linked id"], actor=ACTOR)
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    # Listed by the id of a player who is only linked afterwards.
    ids_add(segment, [SECRETS["listed linked id"], "player_123"], excluded=False, actor=ACTOR)
    player_alias_link(player, SECRETS["listed linked id"], actor=ACTOR)
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    override_set(flag, player, "enabled", actor=ACTOR)
    pid = str(player.pk)
    properties = {"street": SECRETS["property"], "shop": "gems"}
    sent = {"player_id": pid, "event_name": "bought", "properties": properties}
    assert api.post(EVENTS, sent).status == 201
    bad = {**sent, "timestamp": "yesterday"}
    assert api.post(EVENTS, bad).status == 400
    api.post(f"{PLAYERS}/{pid}/session", {"session_id": "session-q7"})
    api.post(f"{PLAYERS}/{pid}/purchase", {"amount": 4.99, "transaction_id": "order-q7"})
    members = {role: make_staff(role) for role in Role}
    User.objects.update(time_zone="Asia/Tokyo")
    request = make_request(environment, members[Role.LIVE_OPS], "new_tutorial")
    world = World(
        environment, key.key, player, members, {}, entry, request, make_freeze(environment)
    )
    # The ends are missing, so that the page that repeats what was typed does not show a secret;
    # e-mails are found in any case.
    typed = [secret[:-3] for secret in SECRETS.values()]
    typed.append(MAIL.format(SECRETS["email"]).upper())
    yield Known(world, typed)
    wait_for_followers()


@pytest.fixture
def walked(known: Known) -> Callable[[Role], dict[str, str]]:
    def walk(role: Role) -> dict[str, str]:
        client = Client()
        client.force_login(known.world.members[role])
        return texts_of(client, known.world, role, known.typed)

    return walk


def shown(url: str, text: str) -> list[str]:
    """The secrets in a text, without those that were typed into its address."""
    given = unquote_plus(url).lower()  # a search by e-mail repeats it in lower case
    return [name for name, each in SECRETS.items() if each in text and each not in given]


def test_viewer__sees_no_personal_data(walked: Callable[[Role], dict[str, str]]) -> None:
    texts = walked(Role.VIEWER)
    assert len(texts) > 100
    leaks = [
        f"{url}: {', '.join(found)}" for url, text in texts.items() if (found := shown(url, text))
    ]
    assert not leaks, "\n".join(leaks)
    assert_times(texts)


def test_support__sees_each(walked: Callable[[Role], dict[str, str]]) -> None:
    texts = walked(Role.SUPPORT)
    seen = {name for url, text in texts.items() for name in shown(url, text)}
    assert seen == set(SECRETS)
    assert_times(texts)


# --- Times --------------------------------------------------------------------------------------

TIME = re.compile(r"<time\b([^>]*)>")
DAY = re.compile(r'datetime="\d{4}-\d\d-\d\d"')
UTC_STAMP = re.compile(r'datetime="[^"]+Z"')
BOTH_ZONES = re.compile(r'title="[^"]+ JST · [^"]+ UTC"')


def assert_times(texts: dict[str, str]) -> None:
    """Every time has its UTC instant, and both zones in its tooltip. A day has none."""
    times = [
        (url, attrs)
        for url, text in texts.items()
        for attrs in TIME.findall(text)
        if not DAY.search(attrs)
    ]
    assert len(times) > 100
    wrong = {
        f"{url}: <time{attrs}>"
        for url, attrs in times
        if not UTC_STAMP.search(attrs) or not BOTH_ZONES.search(attrs)
    }
    assert wrong == set()
