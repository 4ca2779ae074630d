"""Segments, their sizes, lists and list changes."""

from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Collate, Now

from ilara_admin.core.table_creation import CreateTables

ID = (
    "id",
    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
)
PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}
ENVIRONMENT = (
    "environment",
    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+", db_index=False),
)
STAFF = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ilara_admin", "0001_initial")]
    tables = [
        migrations.CreateModel(
            "Segment",
            [
                ID,
                ENVIRONMENT,
                ("key", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=200)),
                ("description", models.CharField(max_length=500, blank=True)),
                ("rule", models.JSONField()),
                ("included", models.BigIntegerField(default=0, db_default=0)),
                ("excluded", models.BigIntegerField(default=0, db_default=0)),
                ("size", models.BigIntegerField(null=True)),
                ("sized_among", models.BigIntegerField(null=True)),
                ("sized_at", models.DateTimeField(null=True)),
                ("size_wanted_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "segment",
                "ordering": ("key",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "key"), name="segment_key_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "SegmentSize",
            [
                ("pk", models.CompositePrimaryKey("segment_id", "hour", **PRIMARY)),
                (
                    "segment",
                    models.ForeignKey(
                        "segments.segment",
                        models.DO_NOTHING,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("size", models.BigIntegerField()),
                ("among", models.BigIntegerField()),
            ],
            {"db_table": "segment_size"},
        ),
        migrations.CreateModel(
            "SegmentListChange",
            [
                ID,
                (
                    "segment",
                    models.ForeignKey(
                        "segments.segment",
                        models.DO_NOTHING,
                        related_name="list_changes",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("excluded", models.BooleanField()),
                (
                    "action",
                    models.CharField(
                        max_length=10,
                        choices=[
                            ("add", "Add"),
                            ("remove", "Remove"),
                            ("import", "Import"),
                            ("replace", "Replace"),
                            ("clear", "Clear"),
                            ("undo", "Undo"),
                            ("delete", "Delete"),
                        ],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        max_length=10,
                        default="running",
                        choices=[("running", "Running"), ("done", "Done"), ("stopped", "Stopped")],
                    ),
                ),
                ("problem", models.CharField(max_length=300, blank=True)),
                (
                    "undoes",
                    models.ForeignKey(
                        "segments.segmentlistchange", models.DO_NOTHING, null=True, related_name="+"
                    ),
                ),
                ("undone", models.BooleanField(default=False)),
                ("file_name", models.CharField(max_length=255, blank=True)),
                ("done", models.BigIntegerField(default=0)),
                ("total", models.BigIntegerField(default=0)),
                ("lines", models.BigIntegerField(default=0)),
                ("bad", models.BigIntegerField(default=0)),
                ("bad_lines", models.JSONField(default=list)),
                ("added", models.BigIntegerField(default=0)),
                ("removed", models.BigIntegerField(default=0)),
                ("actor_user", STAFF),
                ("actor_name", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500, blank=True)),
                ("break_glass", models.BooleanField(default=False, db_default=False)),
                (
                    "change_request",
                    models.ForeignKey(
                        "ilara_admin.changerequest",
                        models.DO_NOTHING,
                        null=True,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("attempt", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("touched_at", models.DateTimeField(db_default=Now())),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            {
                "db_table": "segment_list_change",
                "indexes": [
                    models.Index(fields=["segment", "-id"], name="segment_list_change_latest"),
                    models.Index(
                        condition=models.Q(("state", "running")),
                        fields=["touched_at"],
                        name="segment_list_change_running",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            "SegmentListPiece",
            [
                ID,
                (
                    "change",
                    models.ForeignKey(
                        "segments.segmentlistchange",
                        models.CASCADE,
                        related_name="pieces",
                        db_index=False,
                    ),
                ),
                ("number", models.IntegerField()),
                ("data", models.BinaryField()),
            ],
            {
                "db_table": "segment_list_piece",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("change", "number"), name="segment_list_piece_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "SegmentMember",
            [
                (
                    "pk",
                    models.CompositePrimaryKey("player_id", "segment_id", "excluded", **PRIMARY),
                ),
                ("player_id", models.UUIDField()),
                (
                    "segment",
                    models.ForeignKey(
                        "segments.segment",
                        models.DO_NOTHING,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("excluded", models.BooleanField()),
                ("external_id", models.CharField(max_length=255)),
                (
                    "change",
                    models.ForeignKey(
                        "segments.segmentlistchange",
                        models.DO_NOTHING,
                        related_name="+",
                        db_constraint=False,
                    ),
                ),
            ],
            {
                "db_table": "segment_member",
                "indexes": [
                    models.Index(
                        "segment",
                        "excluded",
                        Collate("external_id", "C"),
                        name="segment_member_list",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "SegmentFormerMember",
            [
                ("pk", models.CompositePrimaryKey("change_id", "player_id", **PRIMARY)),
                (
                    "change",
                    models.ForeignKey(
                        "segments.segmentlistchange",
                        models.DO_NOTHING,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("player_id", models.UUIDField()),
                ("external_id", models.CharField(max_length=255)),
                ("added_by", models.BigIntegerField()),
            ],
            {"db_table": "segment_former_member"},
        ),
    ]
    operations = [CreateTables(tables)]
