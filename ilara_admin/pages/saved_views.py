"""Saving, renaming and deleting views of lists; see web/saved_views.py."""

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404

from ilara_admin.core.names import name_problem
from ilara_admin.core.text import isolated, trim
from ilara_admin.models import Role, SavedView
from ilara_admin.web.access import environment_url, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.saved_views import MAX_VIEWS, address_of, plain_query

# The URL names of lists with saved views.
LISTS = ("flag_list", "player_list", "audit_list", "request_list")
MAX_QUERY = 2000


class ViewForm(forms.Form):
    name = forms.CharField(
        max_length=60, strip=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def clean_name(self) -> str:
        name = trim(self.cleaned_data["name"])
        if problem := name_problem(name):
            raise ValidationError(f"The name {problem}.")
        return name


@staff_view(Role.VIEWER, "GET", "POST")
def saved_view_new(request: HtmxHttpRequest, page: str) -> HttpResponse:
    """Save `?query=` of a list. A view of the same name is replaced."""
    query = plain_query(request.GET.get("query", ""))
    if page not in LISTS:
        raise Http404("No such list.")
    form = ViewForm(request.POST if request.method == "POST" else None)
    own = SavedView.objects.filter(user=request.user, project=request.project, page=page)
    if form.is_valid():
        name = form.cleaned_data["name"]
        if len(query) > MAX_QUERY:
            form.add_error(None, "These filters are too long to be saved.")
        elif not own.filter(name=name).exists() and own.count() >= MAX_VIEWS:
            form.add_error(None, f"You have {MAX_VIEWS} views of this list. Delete one first.")
        else:
            view, created = own.update_or_create(
                name=name,
                defaults={"query": query},
                create_defaults={
                    "user": request.user, "project": request.project, "page": page, "query": query,
                },
            )  # fmt: skip
            text = f"{'Saved' if created else 'Replaced'} the view {isolated(name)}."
            return with_toast(request, redirect_to(request, address_of(request, view)), text)
    return render_form(
        request,
        FormPage(
            title="Save this view",
            button="Save",
            form=form,
            cancel_url=environment_url(request, page),
            text="Keeps the filters, the order and the columns, for you in every environment of "
            "this project. A view of yours with the same name is replaced.",
        ),
    )


@staff_view(Role.VIEWER, "GET", "POST")
def saved_view_rename(request: HtmxHttpRequest, view_id: int) -> HttpResponse:
    view = _own(request, view_id)
    posted = request.POST if request.method == "POST" else None
    form = ViewForm(posted, initial={"name": view.name})
    if form.is_valid():
        view.name = form.cleaned_data["name"]
        try:
            with transaction.atomic():
                view.save(update_fields=["name"])
        except IntegrityError:
            form.add_error("name", "You have a view with this name.")
        else:
            text = f"The view is now called {isolated(view.name)}."
            return with_toast(request, redirect_to(request, address_of(request, view)), text)
    title = "Rename the view"
    return render_form(request, FormPage(title, "Rename", form, address_of(request, view)))


@staff_view(Role.VIEWER, "GET", "POST")
def saved_view_delete(request: HtmxHttpRequest, view_id: int) -> HttpResponse:
    view = _own(request, view_id)
    name = isolated(view.name)
    if request.method == "POST":
        view.delete()
        response = redirect_to(request, environment_url(request, view.page))
        return with_toast(request, response, f"Deleted the view {name}.")
    return render_confirm(
        request,
        Confirm(
            title=f"Delete the view {name}",
            button="Delete",
            cancel_url=address_of(request, view),
            text="What it shows is not changed.",
            tone="danger",
            reason="hidden",
        ),
    )


def _own(request: HtmxHttpRequest, view_id: int) -> SavedView:
    own = SavedView.objects.filter(user=request.user, project=request.project)
    return get_object_or_404(own, pk=view_id)
