import django.db.models.deletion
from django.db import migrations, models

import ilara_admin.models


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0008_roles"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="last_client",
            field=models.CharField(db_default="", default="", max_length=80),
        ),
        migrations.AddField(
            model_name="apikey",
            name="last_address",
            field=models.CharField(db_default="", default="", max_length=64),
        ),
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=models.JSONField(
                db_default=models.Value(
                    ["evaluate", "personal", "read", "stream", "track"], models.JSONField()
                ),
                default=ilara_admin.models.default_scopes,
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="networks",
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        migrations.AddField(
            model_name="apikey",
            name="successor",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="ilara_admin.apikey",
            ),
        ),
        migrations.RunSQL("UPDATE api_key SET scopes = '[]' WHERE kind = 'public'", ""),
    ]
