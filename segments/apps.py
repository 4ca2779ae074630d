from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    name = "segments"

    def ready(self) -> None:
        from ilara_admin import snapshot
        from segments.snapshot import PART, SQL, compile_segments

        snapshot.register(PART, SQL, compile_segments)
