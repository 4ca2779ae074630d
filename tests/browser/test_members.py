"""Members of a project: an admin of it adds a colleague, who then sees this project only."""

import shlex
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MODES, Ilara, Window
from tests.browser.test_accounts import password_step
from tests.running import bash

pytestmark = pytest.mark.slow

CODE = """
from ilara_admin.core.projects import project_create
from ilara_admin.models import Project, Role
from tests.factories import ACTOR, make_staff
project_create(name="Zoo", slug="zoo", actor=ACTOR)  # the last one in the switcher
game = Project.objects.get(slug="sample-game")
for mode in {modes}:
    make_staff(Role.ADMIN, f"boss-{{mode}}", game)
    make_staff(Role.VIEWER, f"colleague-{{mode}}").memberships.all().delete()
"""


@pytest.fixture(scope="module", autouse=True)
def _people(ilara: Ilara) -> None:
    """Another project; an admin of the sample game and an account without a project, by mode."""
    code, variables = CODE.format(modes=list(MODES)), {"ILARA_HOME": str(ilara.serve.home)}
    bash(f"{sys.executable} manage.py shell --no-imports -c {shlex.quote(code)}", variables)


@pytest.mark.parametrize("mode", list(MODES))
def test_admin_of_a_project_adds_a_colleague(window: Callable[..., Window], mode: str) -> None:
    boss, colleague = (window(storage_state=None, **MODES[mode]) for _ in range(2))
    page = password_step(colleague, f"colleague-{mode}")
    expect(page.get_by_text("You are not a member of any project yet.")).to_be_visible()

    page = password_step(boss, f"boss-{mode}")
    page.wait_for_url("**/sample-game/live/")
    boss.press("link", "Staff", exact=True)
    expect(page.get_by_role("link", name=f"colleague-{mode}")).to_have_count(0)
    boss.press("link", "Add existing account")
    boss.fill(page.get_by_label("Username"), f"colleague-{mode}")
    boss.check(page.get_by_label("Support"))
    boss.press("button", "Add", exact=True)
    expect(page.get_by_text(f"colleague-{mode} is support of Sample game.")).to_be_visible()
    expect(page.get_by_role("row", name=f"colleague-{mode}")).to_contain_text("Support")

    page = colleague.open("/")
    page.wait_for_url("**/sample-game/live/")
    page.get_by_text("switch project or environment").locator("..").click()
    switcher = page.get_by_role("navigation", name="Projects and environments")
    expect(switcher.get_by_role("heading")).to_have_text(["Sample game"])
    colleague.open("/zoo/live/")
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    colleague.open("players/")
    expect(page.get_by_role("heading", name="Players", exact=True)).to_be_visible()
    assert colleague.open("staff/").get_by_text("This needs the role admin.").is_visible()
