from django.apps import AppConfig


class IlaraAdminConfig(AppConfig):
    name = "ilara_admin"

    def ready(self) -> None:
        from ilara_admin import checks  # noqa: F401  # the import registers them
