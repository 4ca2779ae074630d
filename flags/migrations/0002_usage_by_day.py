"""Usage of flags by day."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from flags.models import CountsField
from flags.usage import RECOUNT_DAYS


def count_days(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    with editor.connection.cursor() as cursor:
        for (environment,) in apps.get_model("ilara_admin", "Environment").objects.values_list(
            "pk"
        ):
            cursor.execute(RECOUNT_DAYS, [environment])


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_initial")]
    operations = [
        migrations.CreateModel(
            "FlagUsageDay",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "flag_id",
                        "day",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                ("day", models.DateField()),
                ("hours", CountsField()),
            ],
            {"db_table": "flag_usage_day"},
        ),
        migrations.RunPython(count_days, migrations.RunPython.noop),
    ]
