from django.apps import AppConfig


class PlayersConfig(AppConfig):
    name = "players"

    def ready(self) -> None:
        from ilara_admin import snapshot
        from players.snapshot import PART, SQL, compile_parameters

        snapshot.register(PART, SQL, compile_parameters)
