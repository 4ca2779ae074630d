from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        from events import (
            notices,
            partitions,
            player_data,
            rollups,
            services,  # noqa: F401  # registers how changes are undone
        )
        from events.models import INSERT_EVENT
        from ilara_admin.runtime import health, metrics
        from players import event_log
        from players.player_data import register

        event_log.register(INSERT_EVENT)
        register(*player_data.DATA)
        notices.register()
        health.register_check("partitions", partitions.READY)
        metrics.register_figures(rollups.FIGURES, rollups.FIGURES_SQL)
