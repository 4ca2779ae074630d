from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    name = "segments"

    def ready(self) -> None:
        from ilara_admin import snapshot
        from segments import usage
        from segments.models import segments_by_segment
        from segments.snapshot import PART, SQL, compile_segments

        snapshot.register(PART, SQL, compile_segments)
        usage.register("segment", segments_by_segment)
