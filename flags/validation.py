"""Whether a flag document holds in its environment: segments, other flags, rules."""

from typing import Any

from django.core.exceptions import ValidationError

from flags.engine import prerequisites
from flags.engine.document import FlagDocument, check_document, encode_document
from flags.models import Flag
from ilara_admin.core.path_error import PathError
from ilara_admin.models import Environment
from segments.language.parser import RuleError, parse, segments_named
from segments.models import Segment


def check(environment: Environment, key: str, document: FlagDocument) -> None:
    """Raise ValidationError unless the document, the rules, and the segments and flags it names
    hold. Call it in the transaction that stores the document: it locks what it relies on."""
    try:
        check_document(document)
        for index, rule in enumerate(document.rules):
            if rule.conditions is not None:
                _check_conditions(rule.conditions, f"rules[{index}].conditions")
    except PathError as error:
        raise ValidationError({"document": str(error)}) from None
    _check_segments(environment, document)
    if document.prerequisites:
        _lock(environment)
        _check_prerequisites(environment, key, document)


def _check_conditions(conditions: Any, path: str) -> None:
    try:
        parse(conditions)
    except RuleError as error:
        raise error.below(path) from None


def check_dependents(flag: Flag, before: FlagDocument, after: FlagDocument) -> None:
    """Raise ValidationError when another flag needs a variant that is about to go."""
    gone = {item.key for item in before.variants} - {item.key for item in after.variants}
    if not gone:
        return
    _lock(flag.environment)
    for other in Flag.objects.of(flag.environment).needing(flag.key):
        for item in other.spec.prerequisites:
            if item.flag == flag.key and (lost := gone & set(item.variants)):
                names = ", ".join(sorted(lost))
                fault = f"The flag {other.key} needs {names} of this one. Change it first."
                raise ValidationError({"document": fault})


def _check_segments(environment: Environment, document: FlagDocument) -> None:
    wanted = {rule.segment for rule in document.rules if rule.segment is not None}
    wanted = wanted.union(
        *(segments_named(rule.conditions) for rule in document.rules if rule.conditions)
    )
    known = Segment.objects.filter(environment=environment, key__in=wanted).order_by("id")
    # The lock keeps them from being deleted before this is stored.
    missing = wanted - {segment.key for segment in known.select_for_update(no_key=True)}
    if missing:
        names = ", ".join(sorted(missing))
        raise ValidationError({"document": f"There is no segment {names} in this environment."})


def _lock(environment: Environment) -> None:
    """Two flags saved at once must not close a circle that neither of them sees. The environment's
    row is locked after all others, as every change does when it bumps the version."""
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
        variants = {variant["key"] for variant in others[item.flag]["variants"]}
        if missing := set(item.variants) - variants:
            names = ", ".join(sorted(missing))
            raise ValidationError(
                {"document": f"{place}: The flag {item.flag} has no variant {names}."}
            )
    needs = {
        other: [item["flag"] for item in data.get("prerequisites", ())]
        for other, data in others.items()
    }
    if fault := prerequisites.problem(key, needs):
        raise ValidationError({"document": fault})
