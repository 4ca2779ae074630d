"""The names that the rule editor suggests: of events, their properties, and players' attributes."""

from collections import Counter

from django.db.models import Sum

from events.models import EventName, EventProperty
from ilara_admin.models import Environment
from players.models import Player
from segments.editor.form_tree import Editor
from segments.language.parser import attribute_name
from segments.language.paths import join_path, paths_in

MAX_NAMES = 300  # any other name can be typed
SAMPLED_PLAYERS = 200
LEVELS = 3  # of nested attributes


def suggest_names(editor: Editor, environment: Environment) -> None:
    """Fill in the names seen in the environment, as rules write them, the commonest first."""
    seen = EventName.objects.filter(environment=environment).order_by("-count", "name")
    events = dict(seen.values_list("id", "name")[:MAX_NAMES])
    editor.events = list(events.values())
    editor.properties = _property_names(list(events))
    editor.attributes = _attribute_names(environment)


def _property_names(event_names: list[int]) -> list[str]:
    found = EventProperty.objects.filter(event_name_id__in=event_names).values("name")
    found = found.annotate(total=Sum("count")).order_by("-total", "name")
    return list(filter(_can_be_typed, (join_path([row["name"]]) for row in found[:MAX_NAMES])))


def _attribute_names(environment: Environment) -> list[str]:
    """The attributes of the players seen last."""
    players = Player.objects.of(environment).recent_first()
    counts: Counter[tuple[str, ...]] = Counter()
    for attributes in players.values_list("attributes", flat=True)[:SAMPLED_PLAYERS]:
        counts.update(paths_in(attributes, LEVELS))
    names = (attribute_name(path) for path, _ in counts.most_common(MAX_NAMES))
    return list(filter(_can_be_typed, names))


def _can_be_typed(name: str) -> bool:
    """Whether a text input keeps the name as it is; the others are written as JSON."""
    return name.isprintable() and name == name.strip()
