"""Values that staff find players by, kept by a trigger, and an index of session ids."""

from django.db import migrations, models

PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}

# The value by which an attribute is found, or null.
SEARCHABLE = """
CREATE FUNCTION player_searchable(attribute jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(attribute)
        WHEN 'string' THEN nullif(left(btrim(lower(attribute #>> '{}')), 255), '')
        WHEN 'number' THEN left(trim_scale(attribute::numeric)::text, 255) END
$$"""

# A removed value stays as a row with null: a job that fills in the values of a field, and has read
# the value before, then finds the row and does not store the value again.
KEEP = """
CREATE FUNCTION player_value_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fields text[];
    found text[];
    names jsonb;
    name text;
    old_attributes jsonb;
BEGIN
    IF TG_OP = 'INSERT' OR OLD.email IS DISTINCT FROM NEW.email THEN
        IF TG_OP = 'UPDATE' OR NEW.email IS NOT NULL THEN
            fields := fields || 'email'::text;
            found := found || left(lower(NEW.email), 255);
        END IF;
    END IF;
    IF TG_OP = 'INSERT' OR OLD.device_id IS DISTINCT FROM NEW.device_id THEN
        IF TG_OP = 'UPDATE' OR NEW.device_id IS NOT NULL THEN
            fields := fields || 'device_id'::text;
            found := found || NEW.device_id::text;
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        old_attributes := OLD.attributes;
    END IF;
    IF old_attributes IS DISTINCT FROM NEW.attributes THEN
        SELECT searchable_attributes INTO names FROM environment WHERE id = NEW.environment_id;
        FOR place IN 0 .. jsonb_array_length(names) - 1 LOOP
            name := names ->> place;
            IF old_attributes -> name IS DISTINCT FROM NEW.attributes -> name THEN
                fields := fields || ('attributes.' || name);
                found := found || player_searchable(NEW.attributes -> name);
            END IF;
        END LOOP;
    END IF;
    IF fields IS NOT NULL THEN
        INSERT INTO player_value (player_id, field, environment_id, value)
        SELECT NEW.id, given.field, NEW.environment_id, given.value
        FROM unnest(fields, found) AS given (field, value)
        ON CONFLICT (player_id, field) DO UPDATE SET value = excluded.value;
    END IF;
    RETURN NULL;
END
$$"""

INSERTED = """
CREATE TRIGGER player_value_inserted AFTER INSERT ON player FOR EACH ROW
WHEN (NEW.email IS NOT NULL OR NEW.device_id IS NOT NULL OR NEW.attributes <> '{}')
EXECUTE FUNCTION player_value_keep()"""

UPDATED = """
CREATE TRIGGER player_value_updated AFTER UPDATE OF email, device_id, attributes ON player
FOR EACH ROW WHEN ((OLD.email, OLD.device_id, OLD.attributes)
    IS DISTINCT FROM (NEW.email, NEW.device_id, NEW.attributes))
EXECUTE FUNCTION player_value_keep()"""

# Of the players that exist. A job fills in their values.
FILL = """
INSERT INTO player_value_fill (environment_id, field, position)
SELECT e.id, field, 0 FROM environment e, unnest(ARRAY['email', 'device_id']) field
WHERE EXISTS (SELECT FROM player p WHERE p.environment_id = e.id)"""


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0004_personal_data"),
        ("players", "0003_cheap_updates"),
    ]
    operations = [
        migrations.CreateModel(
            "PlayerValue",
            [
                ("pk", models.CompositePrimaryKey("player_id", "field", **PRIMARY)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player",
                        models.DO_NOTHING,
                        related_name="+",
                        db_constraint=False,
                        db_index=False,
                    ),
                ),
                ("field", models.CharField(max_length=120)),
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        db_constraint=False,
                        db_index=False,
                    ),
                ),
                ("value", models.CharField(max_length=255, null=True, db_collation="C")),
            ],
            {
                "db_table": "player_value",
                "indexes": [
                    models.Index(
                        fields=["environment", "field", "value"], name="player_value_search"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "ValueFill",
            [
                ("pk", models.CompositePrimaryKey("environment_id", "field", **PRIMARY)),
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        db_index=False,
                    ),
                ),
                ("field", models.CharField(max_length=120)),
                ("position", models.BigIntegerField(default=0)),
            ],
            {"db_table": "player_value_fill"},
        ),
        migrations.AddIndex(
            "playersession", models.Index(fields=["digest"], name="session_digest")
        ),
        migrations.RunSQL(SEARCHABLE, "DROP FUNCTION player_searchable"),
        migrations.RunSQL(KEEP, "DROP FUNCTION player_value_keep"),
        migrations.RunSQL(INSERTED, "DROP TRIGGER player_value_inserted ON player"),
        migrations.RunSQL(UPDATED, "DROP TRIGGER player_value_updated ON player"),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
