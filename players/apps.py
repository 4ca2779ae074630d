from django.apps import AppConfig


class PlayersConfig(AppConfig):
    name = "players"

    def ready(self) -> None:
        from ilara_admin.core.projects import on_settings_change
        from players import (
            cache,  # noqa: F401  # registers a part of the environment cache
            erasure,
            exports,
            player_data,
            undo,  # noqa: F401  # registers how changes are undone
            values,
        )

        player_data.register(*erasure.DATA, *exports.DATA)
        on_settings_change(values.searchable_changed)
