"""What the environment's players and events hold, to suggest names and values while a rule is
edited. Imports no Django.

Attributes come from a sample of players, so an absent name may still exist: a hint never prevents
saving.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from segments.editor.draft import as_typed
from segments.language.operators import ValueKind
from segments.language.parser import FIELDS, STAGES, attribute_name, attribute_path
from segments.language.paths import join_path, split_path, values_in
from segments.language.values import moment, version

MAX_NAMES = 300  # suggested; any other name can be typed
MAX_VALUES = 8
MAX_VALUE = 60  # characters of a suggested value
# A value that only one player has may identify that player, and is no use in a rule.
LEAST_PLAYERS = 2
MAX_PATHS = 50_000  # read of a sample, which bounds the time that it takes
LEVELS = 3  # of nested attributes
TYPES_TRIED = 20  # values of an attribute whose text is tried as a time or a version


@dataclass(frozen=True, slots=True)
class SeenName:
    """An attribute or a property: `name` as rules write it, the types of its values, the share of
    players or events that have it (0..1) and frequent values as they are typed."""

    name: str
    types: tuple[str, ...]
    share: float
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenEvent:
    count: int
    properties: Mapping[str, SeenName]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`players` were read, which are all if `is_complete`. `attributes` are the most frequent ones
    by name; `paths` are those of all attributes and of objects that hold some. `events` are the
    most frequent ones, which are all if `has_all_events`."""

    players: int = 0
    is_complete: bool = True
    attributes: Mapping[str, SeenName] = field(default_factory=dict)
    paths: frozenset[tuple[str, ...]] = frozenset()
    events: Mapping[str, SeenEvent] = field(default_factory=dict)
    has_all_events: bool = True

    @property
    def fields(self) -> list[tuple[str, ValueKind, str]]:
        """The fields to suggest: name, kind for the choice of operators, and text."""
        seen = self.attributes.values()
        return [
            *((name, kind, f"{name}: built in, {kind}") for name, kind in BUILT_IN.items()),
            *((item.name, ValueKind.ANY, f"{item.name}: {about(item)}") for item in seen),
        ]

    @property
    def properties(self) -> list[tuple[str, str]]:
        """The properties to suggest, the commonest first, and text."""
        types: dict[str, dict[str, None]] = {}
        for event in self.events.values():
            for item in event.properties.values():
                types.setdefault(item.name, {}).update(dict.fromkeys(item.types))
        names = [name for name in types if _can_be_typed(name)]
        return [(name, f"{name}: {' or '.join(types[name])}") for name in names[:MAX_NAMES]]


BUILT_IN = {name: kind for name, kind in FIELDS.items() if kind is not ValueKind.SEGMENT}


# --- A sample of players --------------------------------------------------------------------------


def attributes_seen(sample: Iterable[Mapping[str, Any]], limit: int) -> Catalogue:
    """The attributes of up to `limit` players, the commonest first."""
    columns: defaultdict[tuple[str, ...], list[Any]] = defaultdict(list)
    players = total = 0
    for attributes in sample:
        players += 1
        for path, value in values_in(attributes, LEVELS):
            columns[path].append(value)
            total += 1
        if total > MAX_PATHS:
            break
    common = sorted(columns, key=lambda path: len(columns[path]), reverse=True)
    names = [path for path in common if _can_be_typed(attribute_name(path))][:MAX_NAMES]
    seen = [_seen(attribute_name(path), columns[path], players) for path in names]
    return Catalogue(
        players,
        players < limit and total <= MAX_PATHS,
        {item.name: item for item in seen},
        frozenset(path[:end] for path in columns for end in range(1, len(path) + 1)),
    )


def _seen(name: str, column: Sequence[Any], players: int) -> SeenName:
    items: list[Any] = []
    for value in column:
        items += value if isinstance(value, list) else (value,)
    # As pairs with their types: true equals 1.
    values = Counter((type(item), item) for item in items if type(item) in SCALARS)
    types = Counter(JSON_TYPES[type(value)] for value in column)
    return SeenName(name, _types(types, values), len(column) / players, _frequent(values))


SCALARS = frozenset({str, bool, int, float})
JSON_TYPES: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


def _types(types: Counter[str], values: Counter[Any]) -> tuple[str, ...]:
    """The types, the commonest first. Text is a time or a version if the values that were tried
    are."""
    texts = [text for (kind, text) in list(values)[:TYPES_TRIED] if kind is str]
    special = ""
    if texts and all(moment(text) for text in texts):
        special = "time"
    elif texts and all("." in text and version(text) for text in texts):
        special = "version"
    return tuple(special if special and name == "text" else name for name, _ in types.most_common())


def _frequent(values: Counter[Any]) -> tuple[str, ...]:
    common = (value for (_, value), count in values.most_common() if count >= LEAST_PLAYERS)
    typed = (as_typed(value) for value in common if len(str(value)) <= MAX_VALUE)
    found: list[str] = []
    for text in typed:
        if _can_be_typed(text):
            found.append(text)
        if len(found) == MAX_VALUES:
            break
    return tuple(found)


def _can_be_typed(text: str) -> bool:
    """Whether a text input keeps the text as it is."""
    return text.isprintable() and text == text.strip()


# --- The catalogue of events ----------------------------------------------------------------------

TYPES_IN_SQL = {"string": "text", "array": "list", "boolean": "true or false"}


def events_seen(
    counts: Mapping[str, int], properties: Iterable[tuple[str, str, str, int]]
) -> dict[str, SeenEvent]:
    """`counts` maps names to totals. `properties` are rows of event, property, type and count."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for event, name, kind, count in properties:
        types = found.setdefault(event, {}).setdefault(join_path([name]), Counter())
        types[TYPES_IN_SQL.get(kind, kind)] += count
    return {
        event: SeenEvent(
            total,
            {
                name: SeenName(
                    name,
                    tuple(each for each, _ in types.most_common()),
                    min(1.0, types.total() / total) if total else 0.0,
                )
                for name, types in found.get(event, {}).items()
            },
        )
        for event, total in counts.items()
    }


# --- Texts ----------------------------------------------------------------------------------------


def about(item: SeenName, of: str = "players") -> str:
    """`number, 98 % of players`."""
    return f"{' or '.join(item.types)}, {_percent(item.share)} of {of}"


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{share * 100:.0f} %"


def field_hint(name: str, catalogue: Catalogue) -> str:
    """What is known about a field of a condition; "" if nothing is."""
    if not name:
        return ""
    if name in FIELDS:
        return f"built in, {FIELDS[name]}"
    path = tuple(attribute_path(name))
    if item := catalogue.attributes.get(attribute_name(path)):
        often = f"; often {', '.join(item.values[:4])}" if item.values else ""
        return about(item) + often
    if not catalogue.players or path in catalogue.paths or len(path) > LEVELS:
        return ""
    nobody = (
        "No player has" if catalogue.is_complete else f"None of {catalogue.players:,} players has"
    )
    return f"{nobody} {name}{_instead(name, [*FIELDS, *catalogue.attributes])}"


def event_hint(name: str, catalogue: Catalogue) -> str:
    if item := catalogue.events.get(name):
        return f"{item.count:,} received"
    if not name or not catalogue.events or not catalogue.has_all_events:
        return ""
    return f"No event {name} was received{_instead(name, list(catalogue.events))}"


def property_hint(name: str, event: str, catalogue: Catalogue) -> str:
    known = catalogue.events.get(event)
    if not name or known is None:
        return ""
    key = join_path(split_path(name)[:1])  # the catalogue does not look into objects
    if item := known.properties.get(key):
        return about(item, f"{event} events")
    return f"{event} has no property {name}{_instead(name, list(known.properties))}"


def _instead(name: str, known: Sequence[str]) -> str:
    similar = closest(name, known)
    return f"; did you mean {similar}?" if similar else "."


def closest(name: str, known: Sequence[str]) -> str:
    """The known name that is most like a mistyped one, else ""."""
    lower = name.lower()
    near = {each.lower(): each for each in known if abs(len(each) - len(name)) <= 3}
    found = get_close_matches(lower, near, n=1, cutoff=0.7)
    return near[found[0]] if found else ""


def values_of(name: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Values to suggest for a field."""
    if name == "lifecycle_stage":
        return STAGES
    if FIELDS.get(name) is ValueKind.BOOLEAN:
        return ("true", "false")
    item = catalogue.attributes.get(attribute_name(attribute_path(name)))
    return item.values if item else ()
