"""Flags, their revisions, overrides and usage."""

import re
import secrets
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Case, Exists, F, Func, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from flags.details import Details
from flags.engine.document import DocumentError, FlagDocument, read_document
from flags.models.fields import CountsField
from ilara_admin.models import Environment, User
from segments.language.parser import events_named, segments_named
from segments.models import mentioning

STALE_DAYS = 30
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def new_salt() -> str:
    return secrets.token_hex(8)


def only_variant_sql(given: str) -> str:
    """A sub-select: the only variant that the API served since then of a flag that did not change
    since then and has no scheduled change; else NULL. `given` are SQL expressions: the flag's id,
    document and updated_at, the time "since then", and now as text like a document's times.

    One look into the index for each variant, which LIMIT enforces: the counts of 30 days are a
    thousand rows of a flag.
    """
    return f"""(SELECT min(variant.key)
    FROM (SELECT {given}) AS given (id, document, updated_at, since, now),
        LATERAL (SELECT key #>> '{{}}' AS key
                 FROM jsonb_path_query(given.document, '$.variants[*].key') key) variant
    WHERE given.updated_at < given.since AND NOT jsonb_path_exists(given.document,
        '$.rules[*] ? (@.start > $now || @.end > $now || @.ramp.end > $now || @.steps.at > $now)',
        jsonb_build_object('now', given.now::text))
    AND (SELECT true FROM flag_usage u
         WHERE u.flag_id = given.id AND u.variant = variant.key AND u.hour >= given.since
         ORDER BY u.hour DESC LIMIT 1)
    HAVING count(*) = 1)"""


def last_evaluated_sql(flag_id: str) -> str:
    """A sub-select: when the API last evaluated a flag, NULL if never."""
    return f"""(SELECT u.last_at FROM flag_usage u WHERE u.flag_id = {flag_id}
    ORDER BY u.hour DESC, u.last_at DESC LIMIT 1)"""


# Whether a flag was not evaluated since then, or had one value. %(expressions)s are those of
# only_variant_sql and created_at. Two of its variants in the newest hours since then prove
# that it is neither: one look into the index instead of one for each variant.
UNUSED_OR_STEADY = f"""(SELECT NOT (
        SELECT coalesce(min(newest.variant) <> max(newest.variant), false)
            AND flag.document @> jsonb_build_object('variants', jsonb_build_array(
                jsonb_build_object('key', min(newest.variant)),
                jsonb_build_object('key', max(newest.variant))))
        FROM (SELECT u.variant FROM flag_usage u
              WHERE u.flag_id = flag.id AND u.hour >= flag.since
              ORDER BY u.hour DESC LIMIT 4) newest)
    AND (coalesce({last_evaluated_sql("flag.id")}, flag.created_at) < flag.since OR
        {only_variant_sql("flag.id, flag.document, flag.updated_at, flag.since, flag.now")}
            IS NOT NULL)
    FROM (SELECT %(expressions)s) AS flag (id, document, updated_at, since, now, created_at))"""


def _given(now: datetime) -> tuple[F | Value, ...]:
    """What only_variant_sql needs of a flag."""
    since = Value(now - timedelta(days=STALE_DAYS))
    moment = Value(now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"), models.TextField())
    return F("pk"), F("document"), F("updated_at"), since, moment


class FlagQuerySet(models.QuerySet["Flag"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment=environment)

    def archived(self, archived: bool) -> Self:
        return self.filter(archived_at__isnull=not archived)

    def in_state(self, state: str) -> Self:
        """`on`, `off` or `archived`; else all in use, on and off."""
        found = self.archived(state == "archived")
        switched_on = Q(document__enabled=True)
        states = {"on": switched_on, "off": ~switched_on}
        return found.filter(states[state]) if state in states else found

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__contains=[tag])

    def with_ids(self, ids: Collection[int]) -> Self:
        """As a filter `pk__in`, with one text as its parameter: Django and psycopg need longer to
        write a thousand numbers than PostgreSQL to search for them."""
        known, one_of = Value(f"{{{','.join(map(str, ids))}}}"), "(%(expressions)s::bigint[]))"
        return self.filter(
            Func(
                F("pk"),
                known,
                template=one_of,
                arg_joiner=" = ANY(",
                output_field=models.BooleanField(),
            )
        )

    def matching(self, text: str) -> Self:
        return self.filter(Q(key__icontains=text) | Q(name__icontains=text))

    def naming(self, segment_key: str) -> Self:
        """Flags with a rule that names this segment."""
        return self.filter(document__rules__contains=[{"segment": segment_key}])

    def needing(self, key: str) -> Self:
        """Flags that have this flag as a prerequisite."""
        return self.filter(document__prerequisites__contains=[{"flag": key}])

    def never_evaluated(self) -> Self:
        """Without usage; counts are deleted after usage.KEPT_DAYS."""
        return self.exclude(Exists(FlagUsage.objects.filter(flag=OuterRef("pk"))))

    def with_last_evaluated(self) -> Self:
        """Adds `last_evaluated_at`: when the API last evaluated the flag."""
        newest = FlagUsage.objects.filter(flag=OuterRef("pk")).order_by("-hour", "-last_at")
        return self.annotate(last_evaluated_at=Subquery(newest.values("last_at")[:1]))

    def tags(self) -> list[str]:
        """The tags of these flags, each once."""
        each = Func("tags", function="jsonb_array_elements_text", output_field=models.TextField())
        return list(self.order_by().values_list(each, flat=True).distinct().order_by(each))

    def with_evidence(self, now: datetime) -> Self:
        """Adds what shows whether a flag is still needed: `last_evaluated_at` and `only_variant`,
        see only_variant_sql."""
        template, text = only_variant_sql("%(expressions)s"), models.TextField()
        only = Func(*_given(now), template=template, output_field=text)
        return self.with_last_evaluated().annotate(only_variant=only)

    def stale(self, now: datetime) -> Self:
        """Flags in use that are past their expected end, not evaluated, or had one value for
        STALE_DAYS: those with dashboard.stale.hints."""
        given, boolean = (*_given(now), F("created_at")), models.BooleanField()
        unused_or_steady = Func(*given, template=UNUSED_OR_STEADY, output_field=boolean)
        in_use = self.filter(archived_at=None, archives_at=None)
        return in_use.filter(Q(expected_end__lt=now.date()) | Q(unused_or_steady))

    def sortable(self) -> Self:
        """Adds `is_off` and `evaluated_at`, to order by: neither is ever NULL. Requires flags
        `with_evidence`."""
        is_off = Case(When(document__enabled=True, then=Value(0)), default=Value(1))
        newest = Coalesce("last_evaluated_at", Value(NEVER))
        return self.annotate(is_off=is_off, evaluated_at=newest)

    def variant_keys(self) -> list[tuple[str, list[str]]]:
        """The keys of each flag and of its variants, without the rest of the documents."""
        template = "jsonb_path_query_array(%(expressions)s, '$.variants[*].key')"
        keys = Func("document", template=template, output_field=models.JSONField())
        return list(self.values_list("key", keys))

    def with_author(self) -> Self:
        """Adds `changed_by`: the author of the current revision."""
        current = FlagRevision.objects.filter(flag=OuterRef("pk"), number=OuterRef("revision"))
        return self.annotate(changed_by=Subquery(current.values("author_name")[:1]))


class FlagDetails(models.Model):
    """What staff write about a flag; see flags/details.py."""

    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    owner = models.CharField(max_length=200, blank=True)
    expected_end = models.DateField(null=True)
    tags = models.JSONField(default=list)
    links = models.JSONField(default=list)

    class Meta:
        abstract = True

    @property
    def details(self) -> Details:
        """As plain JSON data, for forms, history and exports."""
        end = self.expected_end.isoformat() if self.expected_end else ""
        return {
            "name": self.name,
            "description": self.description,
            "owner": self.owner,
            "expected_end": end,
            "tags": self.tags,
            "links": self.links,
        }


class Flag(FlagDetails):
    """A feature flag. `document` is that of the current revision; see engine/document.py.

    The salt determines the buckets. Renaming or restoring a flag keeps it, so that players keep
    their buckets.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    salt = models.CharField(max_length=32, default=new_salt)
    revision = models.IntegerField(default=1)
    document = models.JSONField()
    archived_at = models.DateTimeField(null=True)
    archives_at = models.DateTimeField(null=True)  # the end of its shadow period
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    # Only of flags `with_evidence`.
    last_evaluated_at: datetime | None
    only_variant: str | None
    # Only of flags `with_author`.
    changed_by: str | None

    objects = FlagQuerySet.as_manager()

    class Meta:
        db_table = "flag"
        ordering = ("key",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="flag_key_unique"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def spec(self) -> FlagDocument:
        """The document. Raises DocumentError if it cannot be read; see `problem`."""
        return read_document(self.document)

    @property
    def problem(self) -> str:
        """Why the stored document cannot be read; "" if it can."""
        try:
            read_document(self.document)
        except DocumentError as error:
            place = re.match(r"rules\[(\d+)\]", error.path)
            return f"Rule {int(place[1]) + 1}: {error}" if place else str(error)
        return ""

    @property
    def enabled(self) -> bool:
        """The switch, even if the rest of the document cannot be read."""
        return isinstance(self.document, dict) and self.document.get("enabled") is True


class FlagRevision(FlagDetails):
    """A saved state of a flag. Append-only: restoring an old revision creates a new one."""

    flag = models.ForeignKey(Flag, models.CASCADE, related_name="revisions", db_index=False)
    number = models.IntegerField()
    document = models.JSONField()
    archived = models.BooleanField(default=False)
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    author_name = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "flag_revision"
        ordering = ("-number",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["flag", "number"], name="flag_revision_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.flag_id} revision {self.number}"


class FlagOverrideQuerySet(models.QuerySet["FlagOverride"]):
    def unexpired(self, now: datetime) -> Self:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def in_force(self, player_id: uuid.UUID, now: datetime) -> list["FlagOverride"]:
        """Read for each page of a player: a plain statement takes half as long."""
        sql = """SELECT * FROM flag_override
            WHERE player_id = %s AND (expires_at IS NULL OR expires_at > %s)"""
        return list(self.raw(sql, [player_id, now]))


def overrides_sql(player: str, now: str) -> str:
    """A sub-select: the variants by flag id of the overrides in force, as JSON; NULL without any.
    The player's id and the time are SQL."""
    return f"""(SELECT jsonb_object_agg(o.flag_id, o.variant) FROM flag_override o
    WHERE o.player_id = {player} AND (o.expires_at IS NULL OR o.expires_at > {now}))"""


class FlagOverride(models.Model):
    """A variant set for one player until it expires. It takes precedence over rules. Read with the
    player instead of the snapshot, so it applies at once."""

    pk = models.CompositePrimaryKey("player_id", "flag_id")
    player_id = models.UUIDField()
    flag = models.ForeignKey(Flag, models.CASCADE, related_name="overrides")
    variant = models.CharField(max_length=128)
    expires_at = models.DateTimeField(null=True)
    author_name = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = FlagOverrideQuerySet.as_manager()

    class Meta:
        db_table = "flag_override"


class FlagUsage(models.Model):
    """How often the API served a variant of a flag in an hour, of which `single` times alone and
    not with all flags. Written once a minute: a killed process loses its counts since the last
    write."""

    pk = models.CompositePrimaryKey("flag_id", "hour", "variant")
    flag = models.ForeignKey(Flag, models.CASCADE, related_name="usage", db_index=False)
    hour = models.DateTimeField()
    variant = models.CharField(max_length=128)
    count = models.BigIntegerField()
    single = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "flag_usage"


class FlagUsageDay(models.Model):
    """How often the API served a flag in each of the 24 hours of a UTC day: the sums of FlagUsage,
    which has dozens of rows for them. Of hours, since days of staff begin at any hour of UTC."""

    pk = models.CompositePrimaryKey("flag_id", "day")
    flag = models.ForeignKey(Flag, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    hours = CountsField()

    class Meta:
        db_table = "flag_usage_day"


class EnvironmentUsage(models.Model):
    """How often the API evaluated the flags of an environment in an hour: the sum of FlagUsage,
    which has too many rows to add up for a page."""

    pk = models.CompositePrimaryKey("environment_id", "hour")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    count = models.BigIntegerField()

    class Meta:
        db_table = "environment_usage"


class FlagClient(models.Model):
    """A kind of client that evaluated a flag alone: its name and version as sent, and when last."""

    pk = models.CompositePrimaryKey("flag_id", "client")
    flag = models.ForeignKey(Flag, models.CASCADE, related_name="clients", db_index=False)
    client = models.CharField(max_length=128)
    count = models.BigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "flag_client"


class FlagImpact(models.Model):
    """The evaluation of all players with a draft, by a job; see dashboard/impact_job.py.

    It is kept for minutes, a day at most. The ids are walked in `chunks` equal ranges, of which
    `chunk` are done; `found` are the counts so far. `fingerprint` is that of the draft and the
    environment's configuration, so that a result is never out of date.
    """

    flag = models.ForeignKey(Flag, models.CASCADE, related_name="+")
    fingerprint = models.CharField(max_length=64, unique=True)
    config_version = models.BigIntegerField()
    document = models.JSONField()
    archived = models.BooleanField(default=False)  # with the draft
    players = models.BigIntegerField()  # in the environment, at the start
    chunk = models.IntegerField(default=0)
    chunks = models.IntegerField()
    found = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    touched_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "flag_impact"

    @property
    def is_done(self) -> bool:
        return self.chunk >= self.chunks


def segments_used(document: Any) -> set[str]:
    """The segments named by the rules of a stored document, as far as it can be read."""
    rules = _rules(document)
    named = {rule["segment"] for rule in rules if isinstance(rule.get("segment"), str)}
    return named.union(*(segments_named(rule.get("conditions")) for rule in rules))


def events_used(document: Any) -> set[str]:
    """The events that the rules of a stored document count, as far as it can be read."""
    return set().union(*(events_named(rule.get("conditions")) for rule in _rules(document)))


def _rules(document: Any) -> list[dict[str, Any]]:
    rules = document.get("rules") if isinstance(document, dict) else None
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def flags_by_event(environment: Environment, names: Collection[str]) -> dict[str, list[str]]:
    """The flags with a rule that counts each of the events `names`, by event name, including
    archived ones."""
    found: dict[str, list[str]] = {}
    for key, document in mentioning("flag", "document", environment, names):
        for name in events_used(document).intersection(names):
            found.setdefault(name, []).append(key)
    return found


def flags_by_segment(environment: Environment, keys: Collection[str]) -> dict[str, list[str]]:
    """The flags with a rule that names a segment of `keys`, by segment key, including archived
    ones."""
    found: dict[str, list[str]] = {}
    for key, document in mentioning("flag", "document", environment, keys):
        for segment in segments_used(document).intersection(keys):
            found.setdefault(segment, []).append(key)
    return found
