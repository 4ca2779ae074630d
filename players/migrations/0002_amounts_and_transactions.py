"""Amounts with the places of their currency, transaction ids that count once per environment, no
empty e-mail addresses and device ids."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("players", "0001_initial")]
    operations = [
        migrations.AlterField(
            "player", "total_revenue", models.DecimalField(default=0, db_default=0)
        ),
        migrations.AlterField("purchase", "amount", models.DecimalField()),
        # A transaction id counts once per environment. Of several players who have it, the first one
        # keeps it; the others stay in the ledger, under a digest that no client id has.
        migrations.RunSQL(
            [
                "ALTER TABLE purchase ADD COLUMN environment_id bigint",
                # One update: a second one of the same rows would leave their foreign keys to be
                # checked at the commit, and the table could not be altered.
                """
                UPDATE purchase
                SET environment_id = ranked.environment_id,
                    digest = CASE WHEN nth = 1 THEN purchase.digest ELSE decode(
                        md5(purchase.player_id::text || encode(purchase.digest, 'hex')), 'hex') END
                FROM (
                    SELECT player_id, digest, player.environment_id, row_number() OVER (
                        PARTITION BY player.environment_id, digest
                        ORDER BY received_at, player_id) AS nth
                    FROM purchase JOIN player ON player.id = player_id) AS ranked
                WHERE ranked.player_id = purchase.player_id AND ranked.digest = purchase.digest
                """,
                """
                ALTER TABLE purchase
                    ALTER COLUMN environment_id SET NOT NULL,
                    ADD CONSTRAINT purchase_environment_id_fk FOREIGN KEY (environment_id)
                        REFERENCES environment (id) DEFERRABLE INITIALLY DEFERRED,
                    ADD CONSTRAINT purchase_unique UNIQUE (environment_id, digest)
                """,
            ],
            "ALTER TABLE purchase DROP COLUMN environment_id",
            state_operations=[
                migrations.AddField(
                    "purchase",
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        db_index=False,
                        default=None,
                    ),
                    preserve_default=False,
                ),
                migrations.AddConstraint(
                    "purchase",
                    models.UniqueConstraint(
                        fields=("environment", "digest"), name="purchase_unique"
                    ),
                ),
            ],
        ),
        # Empty text counts as absent: some engines write it for null.
        migrations.RunSQL(
            """
            UPDATE player SET email = nullif(email, ''), device_id = nullif(device_id, '')
            WHERE email = '' OR device_id = ''
            """,
            migrations.RunSQL.noop,
        ),
    ]
