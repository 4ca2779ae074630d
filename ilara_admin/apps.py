from django.apps import AppConfig


class IlaraAdminConfig(AppConfig):
    name = "ilara_admin"
