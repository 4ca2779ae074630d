"""The bench: it times every page, with objects that exist."""

import pytest

from ilara_admin.bench.figures import sizes
from ilara_admin.bench.load import Size, load
from ilara_admin.bench.pages import UNTIMED, times_of_pages
from ilara_admin.core.progress import no_progress
from ilara_admin.models import Environment, Role
from ilara_admin.web.routes import all_pages
from tests.factories import make_key, make_staff

OUTSIDE = {"theme", "sign_out", "reset_request"}  # only POST, or only with a mail server


@pytest.mark.slow
def test_bench__times_every_page(environment: Environment) -> None:
    make_key(environment)
    load(environment, Size(players=60, events=600, segments=10, flags=10), no_progress)
    timings = list(times_of_pages(environment, make_staff(Role.OWNER), requests=1))
    assert {each.status for each in timings if each.name not in OUTSIDE} <= {200, 302}
    with_get = {
        page.name for page in all_pages() if "GET" in getattr(page.view, "methods", ("GET",))
    }
    assert {each.name for each in timings} == with_get - UNTIMED
    kinds = {(each.name, each.kind) for each in timings}
    assert {("player_list", "stage=new"), ("segment_detail", "counts events")} <= kinds
    assert next(each.in_all for each in sizes() if each.table == "player") > 300
