"""Change requests: changes that wait for a second person."""

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from ilara_admin.models import Role
from ilara_admin.web.access import staff_view
from ilara_admin.web.htmx import HtmxHttpRequest


@staff_view(Role.VIEWER)
def request_detail(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.environment.change_requests, pk=pk)
    return render(request, "ilara_admin/request_detail.html", {"found": found})
