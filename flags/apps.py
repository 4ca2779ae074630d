from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        from flags.cache import PART, SQL, compile_flags
        from flags.models import flags_by_segment
        from ilara_admin.api import environment_cache
        from segments import usage

        environment_cache.register(PART, SQL, compile_flags)
        usage.register("flag", flags_by_segment)
