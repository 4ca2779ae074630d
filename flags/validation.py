"""Checks of a flag document in its environment: segments, other flags, rules."""

from django.core.exceptions import ValidationError

from flags.engine import prerequisites
from flags.engine.document import (
    FlagDocument,
    check_document,
    check_rules,
    encode_document,
    prerequisites_in,
    variant_keys,
)
from flags.models import Flag
from flags.results.group_ranges import check_rule_groups
from ilara_admin.core.path_error import PathError
from ilara_admin.models import Environment
from segments.language.parser import segments_named
from segments.models import Segment


def check(environment: Environment, key: str, document: FlagDocument) -> None:
    """Raise ValidationError if the document is invalid or names missing segments or flags. Call it
    in the transaction that stores the document: it locks what it names."""
    try:
        check_document(document)
        check_rules(document)
    except PathError as error:
        raise ValidationError({"document": str(error)}) from None
    _check_segments(environment, document)
    if any(rule.group for rule in document.rules):
        check_rule_groups(environment, key, document)
    if document.prerequisites:
        _lock(environment)
        _check_prerequisites(environment, key, document)


def check_dependents(flag: Flag, document: FlagDocument) -> None:
    """Raise ValidationError if other flags need a variant that this document no longer has."""
    if variant_keys(flag.document) <= {item.key for item in document.variants}:
        return
    _lock(flag.environment)
    if fault := lost_variants_text(flag, document):
        raise ValidationError({"document": fault})


def check_unused(flag: Flag) -> None:
    """Raise ValidationError if the flag is archived, has overrides, is measured, or is required by
    others."""
    _lock(flag.environment)
    needing = Flag.objects.of(flag.environment).needing(flag.key).values_list("key", flat=True)
    if flag.archived_at:
        raise ValidationError(f"The flag {flag.key} is archived. Unarchive it first.")
    if flag.overrides.exists():
        raise ValidationError(f"The flag {flag.key} has overrides. Remove them first.")
    if measuring := flag.experiments.first():
        raise ValidationError(f"The flag {flag.key} is measured by {measuring}.")
    if needing:
        names = ", ".join(needing)
        raise ValidationError(f"The flag {flag.key} is required by {names}. Change those first.")


def lost_variants_text(flag: Flag, document: FlagDocument) -> str:
    """Which flags need a variant that this document no longer has; "" if none does."""
    gone = variant_keys(flag.document) - {item.key for item in document.variants}
    found = []
    for other in Flag.objects.of(flag.environment).needing(flag.key) if gone else ():
        lost = {
            variant
            for item in prerequisites_in(other.document)
            if item.flag == flag.key
            for variant in gone & set(item.variants)
        }
        if lost:
            names = ", ".join(sorted(lost))
            found.append(f"The flag {other.key} requires {names} of this flag.")
    if not found:
        return ""
    return " ".join([*found, f"Change {'it' if len(found) == 1 else 'them'} first."])


def _check_segments(environment: Environment, document: FlagDocument) -> None:
    wanted = {rule.segment for rule in document.rules if rule.segment is not None}
    wanted = wanted.union(
        *(segments_named(rule.conditions) for rule in document.rules if rule.conditions)
    )
    known = Segment.objects.filter(environment=environment, key__in=wanted).order_by("id")
    # The lock prevents deletion before the document is stored.
    missing = wanted - {segment.key for segment in known.select_for_update(no_key=True)}
    if missing:
        names = ", ".join(sorted(missing))
        raise ValidationError({"document": f"There is no segment {names} in this environment."})


def _lock(environment: Environment) -> None:
    """Prevents two concurrent saves from forming a cycle. The environment's row is locked last, as
    bump_config_version does in every change."""
    Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)


def _check_prerequisites(environment: Environment, key: str, document: FlagDocument) -> None:
    others = dict(Flag.objects.of(environment).values_list("key", "document"))
    others[key] = encode_document(document)
    for index, item in enumerate(document.prerequisites):
        place = f"prerequisites[{index}]"
        if item.flag not in others:
            raise ValidationError(
                {"document": f"{place}: There is no flag {item.flag} in this environment."}
            )
        if missing := set(item.variants) - variant_keys(others[item.flag]):
            names = ", ".join(sorted(missing))
            raise ValidationError(
                {"document": f"{place}: The flag {item.flag} has no variant {names}."}
            )
    needs = {
        other: [item.flag for item in prerequisites_in(data)] for other, data in others.items()
    }
    if fault := prerequisites.problem(key, needs):
        raise ValidationError({"document": fault})
