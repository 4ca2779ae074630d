"""How the changes of flags in a change request are made, where that is not an undo."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.core.exceptions import ValidationError

from flags import overrides, services
from flags.engine.acts import flag_acts
from flags.engine.document import DocumentError, decode_document
from flags.models import Flag
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, register_perform, register_whole
from ilara_admin.core.guard import ChangeItem, register_acts
from ilara_admin.models import AuditAction, Environment, Role


def _found(item: ChangeItem, environment: Environment) -> Flag | None:
    flag = Flag.objects.filter(environment=environment, key=item.object_id).first()
    return services.locked(flag) if flag else None


def _flag(item: ChangeItem, environment: Environment) -> Flag:
    if (found := _found(item, environment)) is None:
        raise ValidationError(f"The flag “{item.object_id}” was deleted.")
    return found


def _whole(item: ChangeItem, environment: Environment) -> Fields | None:
    return services.whole_of(_flag(item, environment))


def _restored(item: ChangeItem, environment: Environment) -> Fields:
    fields = services.fields_of(_flag(item, environment))
    names = {**(item.before or {}), **(item.after or {})}
    return {name: fields[name] for name in names if name in fields}


def _restore(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    before, after = item.before or {}, item.after or {}
    return services.flag_set_fields(
        _flag(item, environment), after, before.keys() - after.keys(), actor=actor, reason=reason,
        action=AuditAction(item.action),
    )  # fmt: skip


def _absent(item: ChangeItem, environment: Environment) -> Fields:
    """The fields of a flag that has the key of the new one already."""
    found = _found(item, environment)
    return services.fields_of(found) if found else {}


def _create(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    whole: Mapping[str, Any] = item.whole or {}
    end = whole["expected_end"]
    try:
        document = decode_document(item.after)
    except DocumentError as error:
        raise ValidationError(str(error)) from None
    return services.flag_create(
        environment=environment,
        key=item.object_id,
        document=document,
        name=whole["name"],
        description=whole["description"],
        owner=whole["owner"],
        expected_end=date.fromisoformat(end) if end else None,
        tags=whole["tags"],
        links=whole["links"],
        salt=whole["_salt"],
        actor=actor,
        reason=reason,
    )


def _deletable(item: ChangeItem, environment: Environment) -> Fields:
    fields = services.fields_of(_flag(item, environment))
    own = {name: value for name, value in (item.before or {}).items() if name.startswith("_")}
    return {**fields, **own}


def _delete(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    return services.flag_delete(_flag(item, environment), actor=actor, reason=reason)


def _overrides(item: ChangeItem, environment: Environment) -> Fields:
    flag, before = _flag(item, environment), (item.before or {})["overrides"]
    total = flag.overrides.count()
    now = total if isinstance(before, int) else overrides.overrides_fields(flag)
    return {"overrides": now}


def _clear(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    return overrides.overrides_clear(_flag(item, environment), actor=actor, reason=reason)


def _why_not_clear(item: ChangeItem) -> str:
    """One that sets overrides is the undo of a removal."""
    is_cleared = (item.after or {}).get("overrides") == []
    return "" if is_cleared else "Overrides that are set again cannot wait for a review."


def register() -> None:
    """Register the acts in changes, and how change requests are made."""
    register_acts("flag", flag_acts)
    register_whole("flag", _whole)
    register_perform(
        AuditAction.FLAG_UPDATED,
        AuditAction.FLAG_RESTORED,
        role=Role.LIVE_OPS,
        current=_restored,
        make=_restore,
    )
    register_perform(AuditAction.FLAG_CREATED, role=Role.LIVE_OPS, current=_absent, make=_create)
    register_perform(AuditAction.FLAG_DELETED, role=Role.LIVE_OPS, current=_deletable, make=_delete)
    register_perform(
        AuditAction.FLAG_OVERRIDES_REPLACED,
        role=Role.LIVE_OPS,
        current=_overrides,
        make=_clear,
        why_not=_why_not_clear,
    )
