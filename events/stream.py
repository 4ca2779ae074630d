"""The event stream."""

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ilara_admin.api import ApiRequest


def respond(request: ApiRequest) -> HttpResponseBase:
    return HttpResponse()
