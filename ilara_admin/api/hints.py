"""What the caller probably meant: hints in errors about API keys, paths and names. No Django."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches

from ilara_admin.core import tokens

KEY_HEADER = "X-API-Key"
# Names under which other services expect a key.
OTHER_KEY_NAMES = (
    "api-key", "apikey", "api_key", "x-api-token", "x-apikey", "x-auth-token", "x-secret-key",
    "token", "key",
)  # fmt: skip
PLACEHOLDER = re.compile(
    r"x{3,}|\.{3}|…|\*{3,}|[<>{}$%]|^(undefined|null|none|nil|false|true)$"
    r"|(your|my|the|paste|insert|replace|example|sample|dummy|change)[\W_]?.*(key|me|here)|^(key|test)$",
    re.IGNORECASE,
)
QUOTES = "\"'`“”\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
MAX_SHOWN = 120
# Requests without a valid key count against no limit, so a hint must cost little.
MAX_PATH, MAX_PARTS = 500, 12
MAX_TOKEN = 200
MAX_NAMES = 200


# --- API keys -------------------------------------------------------------------------------------


def key_problem(token: str, headers: Mapping[str, str], query: Iterable[str]) -> str:
    """Why no environment has this key, and the fix. `token` is "" if the request has none; `query`
    are the names of its query parameters. Never repeats the key."""
    return _token_problem(token) if token else _missing_key(headers, query)


def _missing_key(headers: Mapping[str, str], query: Iterable[str]) -> str:
    send = f"Send the key in the header {KEY_HEADER}."
    if KEY_HEADER in headers:
        return f"the header {KEY_HEADER} is empty. Is the variable that holds the key set?"
    if authorization := headers.get("Authorization", "").strip():
        if authorization.lower() == "bearer":
            return "no key follows the word Bearer in the header Authorization."
        return f"the header Authorization must be of the scheme Bearer. {send}"
    for name in OTHER_KEY_NAMES:
        if name in headers:
            return f"the key is in the header {name}. {send}"
    for name in query:
        if name.lower() in (*OTHER_KEY_NAMES, KEY_HEADER.lower()):
            return f"a key in the address may end up in logs. {send}"
    return f"the header {KEY_HEADER} is missing. {send}"


def _token_problem(token: str) -> str:
    copy = "Copy the whole key again; the dashboard shows it once, when the key is created."
    if token[0] in QUOTES or token[-1] in QUOTES:
        return "it is in quotes. Send it without them."
    if token.lower().startswith("bearer "):
        return f"the word Bearer belongs into the header Authorization, not into {KEY_HEADER}."
    if len(token) > MAX_TOKEN:
        return f"it is too long. {copy}"
    if " " in token:
        return "it contains a space. Send the key alone."
    if not tokens.is_well_formed(token) and PLACEHOLDER.search(token):
        return "this is a placeholder. Replace it by a key from the page API keys."
    kind = tokens.KIND.match(token)
    if kind is None:
        return "keys of Ilara begin with pk_ or sk_ and the name of an environment."
    rest = token[kind.end() :]
    length = tokens.RANDOM_LENGTH + tokens.CHECKSUM_LENGTH
    if not rest.isascii() or not rest.isalnum():
        return f"it contains a character that no key has. {copy}"
    if len(rest) != length:
        fault = "incomplete" if len(rest) < length else "too long"
        return f"it is {fault}: {len(rest)} characters after {kind[0]} instead of {length}. {copy}"
    if not tokens.is_well_formed(token):
        return f"it is mistyped: its checksum does not match. {copy}"
    return "this server has no such key. Was it deleted, or does it belong to another server?"


# --- Paths ----------------------------------------------------------------------------------------


def closest_path(path: str, templates: Iterable[str]) -> tuple[str, str] | None:
    """The template that `path` probably means, filled in with the values of `path` and as it is, or
    None. Templates are like `/v1/flags/flags/{key}/evaluate`."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        parts = parts[1:]
    if not set(parts) - {"v1", "ofrep"} or len(path) > MAX_PATH or len(parts) > MAX_PARTS:
        return None
    found = [(_distance(parts, template.strip("/").split("/")), template) for template in templates]
    (cost, filled), template = min(found, key=lambda item: (item[0][0], len(item[1])))
    if cost > MAX_DISTANCE:
        return None
    shown = "/" + "/".join(filled)
    return (shown if len(shown) <= MAX_SHOWN else template), template


MAX_DISTANCE = 2.2
_SKIP = 1.0  # a segment that one of the two lacks
_FILL = 0.1  # a value for a parameter
_DIFFERENT = 1.8  # two segments that have nothing in common


def _distance(parts: Sequence[str], template: Sequence[str]) -> tuple[float, list[str]]:
    """The edit distance between the segments of a path and of a template, and the template with
    the values of the path."""
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for wanted in template:
        best.append((best[-1][0] + _SKIP + (wanted[0] == "{"), [*best[-1][1], wanted]))
    for given in parts:
        row = [(best[0][0] + _SKIP, best[0][1])]
        for column, wanted in enumerate(template):
            cost, name = _segment_distance(given, wanted)
            replaced = (best[column][0] + cost, [*best[column][1], name])
            dropped = (best[column + 1][0] + _SKIP, best[column + 1][1])
            missing = (row[-1][0] + _SKIP + (wanted[0] == "{"), [*row[-1][1], wanted])
            row.append(min(replaced, dropped, missing, key=lambda item: item[0]))
        best = row
    return best[-1]


def _segment_distance(given: str, wanted: str) -> tuple[float, str]:
    if wanted.startswith("{"):
        return _FILL, given
    if given == wanted:
        return 0.0, wanted
    ratio = SequenceMatcher(None, given.lower(), wanted).ratio()
    return (1.0 - ratio if ratio > 0.7 else _DIFFERENT), wanted


# --- Names ----------------------------------------------------------------------------------------

# Names of the same thing in the interfaces of other services.
SYNONYMS: Mapping[str, frozenset[str]] = {
    "external_id": frozenset({"userid", "uid", "id", "customid", "distinctid", "playerid", "user"}),
    "player_id": frozenset({"userid", "uid", "id", "distinctid", "externalid", "user", "player"}),
    "event_name": frozenset({"event", "name", "type", "eventtype", "eventid", "key"}),
    "events": frozenset({"batch", "items", "data", "event"}),
    "attributes": frozenset({"traits", "customattributes", "userproperties", "properties"}),
    "properties": frozenset({"params", "parameters", "attributes", "data", "payload", "value"}),
    "timestamp": frozenset({"time", "ts", "date", "datetime", "occurredat", "happenedat"}),
    "amount": frozenset({"price", "value", "total", "revenue"}),
    "context": frozenset({"attributes", "traits", "properties"}),
}


def closest_name(wanted: str, given: Iterable[str]) -> str | None:
    """The name in `given` that was probably meant to be `wanted`, or None. Among many names, only
    one with the same letters and digits."""
    folded = {_fold(name): name for name in given}
    if exact := folded.get(_fold(wanted)):
        return exact
    for synonym in SYNONYMS.get(wanted, ()):
        if synonym in folded:
            return folded[synonym]
    if len(folded) > MAX_NAMES:
        return None
    near = get_close_matches(_fold(wanted), folded, n=1, cutoff=0.8)
    return folded[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean “new-tutorial”?` for `new_tutorial`, or an empty text."""
    found = closest_name(name, known)
    return f" Did you mean “{found}”?" if found else ""


def _fold(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
