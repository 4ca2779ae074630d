"""Roles belong to projects. Every admin becomes an owner; the others get a membership with their
role in every project."""

from django.db import migrations, models

MEMBERSHIPS = """
UPDATE staff SET is_owner = true WHERE role = 'admin';
INSERT INTO membership (user_id, project_id, role)
SELECT staff.id, project.id, staff.role FROM staff CROSS JOIN project WHERE staff.role <> 'admin'
ON CONFLICT DO NOTHING;
"""
# Who is no member of any project becomes a viewer.
ROLES = """
UPDATE staff SET role = CASE WHEN is_owner THEN 'admin' ELSE coalesce(
    (SELECT role FROM membership WHERE user_id = staff.id ORDER BY project_id LIMIT 1), 'viewer')
    END;
DELETE FROM membership;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0007_membership"),
    ]

    operations = [
        migrations.RunSQL(MEMBERSHIPS, ROLES),
        # Checks of foreign keys are pending until then, and a table with such is not altered.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.RemoveField(model_name="user", name="role"),
        migrations.AlterField(
            model_name="membership",
            name="role",
            field=models.CharField(
                choices=[
                    ("viewer", "Viewer"),
                    ("support", "Support"),
                    ("live-ops", "Live Ops"),
                    ("admin", "Admin"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["viewer", "support", "live-ops", "admin"])),
                name="membership_role",
            ),
        ),
    ]
