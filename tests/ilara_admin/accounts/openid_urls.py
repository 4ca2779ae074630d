"""The addresses of an installation with OpenID Connect."""

from ilara_admin import urls
from ilara_admin.accounts import openid_urls

handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
urlpatterns = [*openid_urls.urlpatterns, *urls.urlpatterns]
