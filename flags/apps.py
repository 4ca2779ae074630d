from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        from flags.snapshot import PART, SQL, compile_flags
        from ilara_admin import snapshot

        snapshot.register(PART, SQL, compile_flags)
