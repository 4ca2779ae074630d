"""The start page: the overview of an environment, or the form for the first project."""

from django.core.exceptions import ValidationError
from django.forms import CharField, Form, TextInput
from django.http import HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render

from ilara_admin.core.projects import slug_from
from ilara_admin.models import Tier, User
from ilara_admin.pages.settings import to_keys
from ilara_admin.starter import project_open
from ilara_admin.web.access import actor_of, last_environment, names_of
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.second_factor import lacks_second_factor


class FirstProjectForm(Form):
    name = CharField(
        max_length=100,
        help_text="The name of the game, like “Skyforge”. It can be changed later.",
        widget=TextInput(attrs={"autocomplete": "off"}),
    )


def home(request: HtmxHttpRequest) -> HttpResponse:
    """Redirect to the last visited or first environment. Without any, owners create a project."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    if lacks_second_factor(request):
        return redirect("second_factor_needed")
    environment = last_environment(request)
    if environment:
        return redirect("overview", environment.project.slug, environment.slug)
    if not request.user.is_owner:
        owners = User.objects.filter(is_owner=True, is_active=True).order_by("username")
        return render(request, "ilara_admin/no_project.html", {"owners": names_of(owners)})
    form = FirstProjectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        name = form.cleaned_data["name"]
        try:
            project = project_open(
                name=name, slug=slug_from(name), tier=Tier.ENTERPRISE, actor=actor_of(request)
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            live = project.environments.get(slug="live")
            return to_keys(request, live, f"{project.name} created. Create its first key here.")
    page = FormPage(
        title="Create your first project",
        button="Create project",
        form=form,
        cancel_url="",
        text=(
            "A project is a game. It starts with the environments live and test, each with an "
            "example segment and two example flags."
        ),
    )
    return render_form(request, page)
