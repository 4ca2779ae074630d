from django.apps import AppConfig


class PlayersConfig(AppConfig):
    name = "players"

    def ready(self) -> None:
        from players import (
            cache,  # noqa: F401  # registers a part of the environment cache
            erasure,
            exports,
            player_data,
            undo,  # noqa: F401  # registers how changes are undone
            values,  # noqa: F401  # registers what a change of the settings does
        )

        player_data.register(*erasure.DATA, *exports.DATA)
