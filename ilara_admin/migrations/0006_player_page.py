"""Indexes for what staff did about one player: the condition of each is that of the timeline's
statement, see events/timeline.py."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0005_audit"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                condition=models.Q(
                    ("object_type", "player"),
                    models.Q(("action", "player.data_seen"), _negated=True),
                ),
                fields=["object_id", "-created_at", "-id"],
                name="audit_player_time",
            ),
        ),
        # An override has the player's external id, the replaced overrides of a flag have many, and
        # a change of a segment's list has the ids that were typed.
        migrations.RunSQL(
            """CREATE INDEX audit_names_player ON audit_entry USING gin ((
                   jsonb_path_query_array(coalesce(before, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.ids[*]')
               ))
               WHERE action IN ('flag.overridden', 'flag.override_removed',
                                'flag.overrides_replaced', 'segment.list_changed')""",
            "DROP INDEX audit_names_player",
        ),
    ]
