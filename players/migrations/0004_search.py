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
CREATE FUNCTION player_value_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO player_value (player_id, field, environment_id, value)
    SELECT NEW.id, field, NEW.environment_id, value
    FROM (VALUES ('email', left(lower(NEW.email), 255)), ('device_id', NEW.device_id))
        AS given (field, value)
    WHERE value IS NOT NULL;
    IF NEW.attributes <> '{}' THEN
        INSERT INTO player_value (player_id, field, environment_id, value)
        SELECT NEW.id, 'attributes.' || name, NEW.environment_id,
               player_searchable(NEW.attributes -> name)
        FROM environment e, jsonb_array_elements_text(e.searchable_attributes) name
        WHERE e.id = NEW.environment_id AND player_searchable(NEW.attributes -> name) IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION player_value_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.email IS DISTINCT FROM NEW.email THEN
        INSERT INTO player_value (player_id, field, environment_id, value)
        VALUES (NEW.id, 'email', NEW.environment_id, left(lower(NEW.email), 255))
        ON CONFLICT (player_id, field) DO UPDATE SET value = excluded.value;
    END IF;
    IF OLD.device_id IS DISTINCT FROM NEW.device_id THEN
        INSERT INTO player_value (player_id, field, environment_id, value)
        VALUES (NEW.id, 'device_id', NEW.environment_id, NEW.device_id)
        ON CONFLICT (player_id, field) DO UPDATE SET value = excluded.value;
    END IF;
    IF OLD.attributes <> NEW.attributes THEN
        INSERT INTO player_value (player_id, field, environment_id, value)
        SELECT NEW.id, 'attributes.' || name, NEW.environment_id,
               player_searchable(NEW.attributes -> name)
        FROM environment e, jsonb_array_elements_text(e.searchable_attributes) name
        WHERE e.id = NEW.environment_id
          AND OLD.attributes -> name IS DISTINCT FROM NEW.attributes -> name
        ON CONFLICT (player_id, field) DO UPDATE SET value = excluded.value;
    END IF;
    RETURN NULL;
END
$$"""

# The conditions decide most writes, as calling a function costs much more. values.py adds the
# attributes that staff declare searchable.
TRIGGERS = """
CREATE TRIGGER player_value_inserted AFTER INSERT ON player FOR EACH ROW
WHEN (NEW.email IS NOT NULL OR NEW.device_id IS NOT NULL)
EXECUTE FUNCTION player_value_insert();
CREATE TRIGGER player_value_updated AFTER UPDATE OF email, device_id, attributes ON player
FOR EACH ROW
WHEN (OLD.email IS DISTINCT FROM NEW.email OR OLD.device_id IS DISTINCT FROM NEW.device_id)
EXECUTE FUNCTION player_value_update()"""

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
        migrations.RunSQL(
            KEEP,
            "DROP FUNCTION player_value_update, player_value_insert",
        ),
        migrations.RunSQL(
            TRIGGERS,
            """DROP TRIGGER player_value_updated ON player;
               DROP TRIGGER player_value_inserted ON player""",
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
