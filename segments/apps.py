from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    name = "segments"

    def ready(self) -> None:
        from events import usage as event_usage
        from ilara_admin.core import diff
        from players.player_data import register
        from segments import (
            cache,  # noqa: F401  # registers a part of the environment cache
            perform,
            player_data,
            undo,  # noqa: F401  # registers how changes are undone
            usage,
        )
        from segments.change_words import field_differences
        from segments.language.sentences import part_text
        from segments.models import segments_by_event, segments_by_segment

        usage.register("segment", segments_by_segment)
        event_usage.register("segment", "segment_detail", segments_by_event)
        register(*player_data.DATA)
        perform.register()
        diff.register_text(part_text)
        diff.register_differences("segment", field_differences)
