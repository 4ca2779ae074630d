"""A flag has an owner and an expected end; archiving is a revision like any other change."""

from django.db import migrations, models

OWNER = models.CharField(blank=True, default="", max_length=200)
END = models.DateField(null=True)


class Migration(migrations.Migration):
    dependencies = [("flags", "0003_overrides")]

    operations = [
        *(
            migrations.AddField(model, name, field, preserve_default=False)
            for model in ("flag", "flagrevision")
            for name, field in (("owner", OWNER), ("expected_end", END))
        ),
        migrations.AddField("flagrevision", "archived", models.BooleanField(default=False)),
    ]
