from django.apps import AppConfig


class PlayersConfig(AppConfig):
    name = "players"

    def ready(self) -> None:
        from players import (
            cache,  # noqa: F401  # registers a part of the environment cache
            erasure,
            player_data,
        )

        player_data.register(*erasure.DATA)
