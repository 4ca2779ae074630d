from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    name = "segments"

    def ready(self) -> None:
        from ilara_admin.api import environment_cache
        from segments import usage
        from segments.cache import PART, SQL, compile_segments
        from segments.models import segments_by_segment

        environment_cache.register(PART, SQL, compile_segments)
        usage.register("segment", segments_by_segment)
