from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        from flags import (
            cache,  # noqa: F401  # importing registers a part of the environment cache
            player_data,
        )
        from flags.models import flags_by_segment
        from players.player_data import register
        from segments import usage

        usage.register("flag", flags_by_segment)
        register(*player_data.DATA)
