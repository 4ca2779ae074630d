from django.apps import AppConfig


class PlayersConfig(AppConfig):
    name = "players"

    def ready(self) -> None:
        from ilara_admin.api import environment_cache
        from players.cache import PART, SQL, compile_parameters

        environment_cache.register(PART, SQL, compile_parameters)
