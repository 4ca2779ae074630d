"""The exposures in a player's timeline."""

from events.timeline import TimelineKind, TimelineSource, register_source

# Of an experiment with several phases only those in which the variant changed. A player has few
# exposures, which are found by the primary key.
EXPOSURES = """(
    SELECT exposed_at, experiment_id, key, name, variant, overridden FROM (
        SELECT x.exposed_at, x.experiment_id, e.key, e.name, x.variant, x.overridden,
               lag(x.variant) OVER (PARTITION BY x.experiment_id ORDER BY x.phase) AS variant_before
        FROM exposure x JOIN experiment e ON e.id = x.experiment_id
        WHERE x.player_id = %(player)s) AS phases
    WHERE variant_before IS DISTINCT FROM variant
    UNION ALL
    SELECT x.second_at, x.experiment_id, e.key, e.name, x.second_variant, x.overridden
    FROM exposure x JOIN experiment e ON e.id = x.experiment_id
    WHERE x.player_id = %(player)s AND x.second_variant IS NOT NULL
) AS exposed"""


def register() -> None:
    """Let the timeline show exposures."""
    register_source(
        TimelineSource(
            TimelineKind.EXPOSURE,
            EXPOSURES,
            "exposed_at",
            "(lpad(experiment_id::text, 20, '0') || variant) COLLATE \"C\"",
            """'key', key, 'name', name, 'variant', variant, 'overridden', overridden,
               'happened_at', exposed_at""",
            "true",
        )
    )
