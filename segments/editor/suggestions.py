"""Reads what the rule editor suggests: names of attributes and events, values, and hints."""

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast

from events.models import EventName, EventProperty
from ilara_admin.core.structs import decoder
from ilara_admin.models import Environment
from players.models import Player
from segments.editor.form_tree import Editor, RulePart
from segments.editor.seen import (
    MAX_NAMES,
    Catalogue,
    attributes_seen,
    event_hint,
    events_seen,
    field_hint,
    property_hint,
    values_of,
)
from segments.language.sentences import place

SAMPLED_PLAYERS = 1_000
MAX_PROPERTIES = 3_000
KEPT_SECONDS = 60

# By the environment's namespace: what each process read, and when.
catalogues: dict[UUID, tuple[float, Catalogue]] = {}


def catalogue_of(environment: Environment) -> Catalogue:
    """What was seen in the environment, at most KEPT_SECONDS ago."""
    at, kept = catalogues.get(environment.namespace, (0.0, None))
    if kept is None or monotonic() - at > KEPT_SECONDS:
        kept = _read(environment)
        catalogues[environment.namespace] = monotonic(), kept
    return kept


def _read(environment: Environment) -> Catalogue:
    seen = EventName.objects.filter(environment=environment).order_by("-count", "name")
    names = {pk: (name, count) for pk, name, count in seen.values_list("id", "name", "count")[
        :MAX_NAMES
    ]}  # fmt: skip
    properties = EventProperty.objects.filter(event_name_id__in=list(names)).order_by("-count")
    rows = properties.values_list("event_name_id", "name", "type", "count")[:MAX_PROPERTIES]
    return replace(
        attributes_seen(_recent_attributes(environment), SAMPLED_PLAYERS),
        events=events_seen(
            dict(names.values()), ((names[pk][0], name, kind, n) for pk, name, kind, n in rows)
        ),
        has_all_events=len(names) < MAX_NAMES,
    )


def _recent_attributes(environment: Environment) -> Iterator[dict[str, object]]:
    """The attributes of the players seen last."""
    players = Player.objects.of(environment).recent_first()
    # As text: Django's decoder takes several times as long.
    texts = players.annotate(text=Cast("attributes", TextField())).values_list("text", flat=True)
    decode = decoder(dict[str, object]).decode
    return (decode(text) for text in texts[:SAMPLED_PLAYERS])


def suggest(editor: Editor, catalogue: Catalogue) -> None:
    """Fill in the values to suggest and the hints of the conditions."""
    for part in editor.root.all():
        _suggest(part, catalogue)


def _suggest(part: RulePart, catalogue: Catalogue) -> None:
    match part.kind:
        case "field":
            name = _typed(part, "field")
            part.values = values_of(name, catalogue)
            _hint(part, "field", place(name), field_hint(name, catalogue))
        case "event":
            event = _typed(part, "event")
            _hint(part, "event", event_hint(event, catalogue))
            suggest_properties(part, event, catalogue)


def suggest_properties(part: RulePart, event: str, catalogue: Catalogue) -> None:
    """The hints of conditions on the properties of an event."""
    for inner in part.parts:
        name = _typed(inner, "field")
        _hint(inner, "field", place(name), property_hint(name, event, catalogue))


def _typed(part: RulePart, control: str) -> str:
    return str(part.form[control].value() or "").strip()


def _hint(part: RulePart, control: str, *texts: str) -> None:
    # Never empty, so that the element is there when the next hint replaces it.
    part.form[control].help_text = "; ".join(filter(None, texts)) or " "
