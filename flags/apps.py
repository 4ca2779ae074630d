from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        from flags.models import flags_by_segment
        from flags.snapshot import PART, SQL, compile_flags
        from ilara_admin import snapshot
        from segments import usage

        snapshot.register(PART, SQL, compile_flags)
        usage.register("flag", flags_by_segment)
