from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    name = "segments"

    def ready(self) -> None:
        from players.player_data import register
        from segments import (
            cache,  # noqa: F401  # registers a part of the environment cache
            player_data,
            usage,
        )
        from segments.models import segments_by_segment

        usage.register("segment", segments_by_segment)
        register(*player_data.DATA)
