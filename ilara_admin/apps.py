from django.apps import AppConfig


class IlaraAdminConfig(AppConfig):
    name = "ilara_admin"

    def ready(self) -> None:
        from ilara_admin.web import converters

        converters.register()
        # Importing these registers checks, kinds of notifications and how changes are undone.
        from ilara_admin import checks  # noqa: F401
        from ilara_admin.core import (  # noqa: F401
            api_keys,
            change_requests,
            channels,
            freezes,
            invites,
            key_warnings,
            projects,
            staff,
        )
