from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        from events import usage as event_usage
        from flags import (
            cache,  # noqa: F401  # registers a part of the environment cache
            perform,
            player_data,
            stale_notice,
            undo,  # noqa: F401  # registers the undo of changes
        )
        from flags.engine.change_words import field_differences, part_text
        from flags.models import experiments_by_segment, flags_by_event, flags_by_segment
        from flags.results import (
            breach_notice,
            experiment_acts,
            group_undo,
            metric_definition,
            metric_undo,
            player_timeline,
            rollouts,
        )
        from flags.results.metrics import metrics_by_event
        from ilara_admin.core import diff
        from players.player_data import register
        from segments import usage

        usage.register("flag", flags_by_segment)
        usage.register("experiment", experiments_by_segment)
        event_usage.register("flag", "flag_detail", flags_by_event)
        event_usage.register("metric", "metric_detail", metrics_by_event)
        register(*player_data.DATA)
        perform.register()
        experiment_acts.register()
        rollouts.register()
        group_undo.register()
        breach_notice.register()
        stale_notice.register()
        player_timeline.register()
        diff.register_text(part_text)
        diff.register_differences("flag", field_differences)
        metric_undo.register()
        diff.register_differences("metric", metric_definition.field_differences)
