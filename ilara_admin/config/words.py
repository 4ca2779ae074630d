"""Configuration entries and their differences as text. No Django."""

from datetime import UTC, datetime

from flags.engine import change_words, sentences
from flags.engine.document import DocumentError
from ilara_admin.config.document import ConfigEntry, details_of, document_of
from ilara_admin.core.diff import Change
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe as describe_rule

NOT_SEEN = "different notation, same meaning"


def introduce(kind: str, entry: ConfigEntry) -> list[str]:
    """Lines that describe a new entry."""
    if kind == "segments":
        return [_rule(entry)]
    document = document_of(entry)
    state = "archived" if entry["archived"] else ("on" if document.enabled else "off")
    rules = [sentences.sentence(rule, datetime.now(UTC)) for rule in document.rules]
    return [f"{document.value_type}, {state}", *rules, f"otherwise {document.default}"]


def changes(kind: str, before: ConfigEntry, after: ConfigEntry) -> list[Change]:
    """The differences between two entries; empty if only the notation differs."""
    return (_segment if kind == "segments" else _flag)(before, after)


def differences(kind: str, before: ConfigEntry, after: ConfigEntry) -> list[str]:
    found = changes(kind, before, after)
    return [f"{each.label}: {each.before} → {each.after}" for each in found] or [NOT_SEEN]


def _segment(before: ConfigEntry, after: ConfigEntry) -> list[Change]:
    found = [
        Change(name, f"“{before[name]}”", f"“{after[name]}”")
        for name in ("name", "description")
        if before[name] != after[name]
    ]
    old, new = _rule(before), _rule(after)
    return [*found, Change("rule", old, new)] if old != new else found


def _rule(entry: ConfigEntry) -> str:
    try:
        return describe_rule(parse(entry["rule"]))
    except RuleError as error:
        return f"not a valid rule ({error})"


def _flag(before: ConfigEntry, after: ConfigEntry) -> list[Change]:
    found = change_words.field_differences(details_of(before), details_of(after), datetime.now(UTC))
    if before["archived"] is not after["archived"]:
        found.append(Change("Archived", _yes(before["archived"]), _yes(after["archived"])))
    try:
        old = document_of(before)
    except DocumentError as error:
        return [*found, Change("Document", f"not valid ({error})", "as in the file")]
    return found + change_words.differences(old, document_of(after), datetime.now(UTC))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
