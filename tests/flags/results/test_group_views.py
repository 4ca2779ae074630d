"""The pages of experiment groups."""

from flags.models import ExperimentGroup
from flags.results.experiments import experiment_start, experiment_stop
from flags.results.groups import group_assign, group_create
from ilara_admin.models import Environment, Role
from tests.factories import ACTOR
from tests.flags.results.test_groups import make_draft, range_in
from tests.pages import signed_in, text_of, url_of


def test_list__shows_who_has_which_players(environment: Environment) -> None:
    client = signed_in(Role.VIEWER)
    assert "No groups yet" in text_of(client.get(url_of(environment, "group_list")))
    group = group_create(environment=environment, key="economy", holdout=10_000, actor=ACTOR)
    group_assign(make_draft(environment, "prices"), group, 25_000, actor=ACTOR)
    text = " ".join(text_of(client.get(url_of(environment, "group_list"))).split())
    assert 'x="10000" y="0" width="25000"' in text
    assert "25 %, 10 % to 35 %, draft" in text
    assert 'Free <span class="muted">65 %</span>' in text


def test_group__is_created_changed_and_deleted(environment: Environment) -> None:
    client = signed_in(Role.LIVE_OPS)
    new = url_of(environment, "group_new")
    assert client.post(new, {"key": "+", "share": "5"}).status_code == 422
    assert client.post(new, {"key": "economy", "share": "12.5"}).status_code == 302
    group = ExperimentGroup.objects.get()
    assert (group.name, group.holdout) == ("economy", 12_500)
    draft = make_draft(environment, "prices")
    edit = url_of(environment, "group_edit", "economy")
    own = url_of(environment, "experiment_group", "prices")
    assert client.post(own, {"group": "economy", "share": "90"}).status_code == 422
    assert client.post(own, {"group": "economy", "share": "20"}).status_code == 302
    assert range_in(draft) == (12_500, 32_500)
    refused = client.post(edit, {"name": "Economy", "share": "13"})
    assert refused.status_code == 422
    assert "Use at most 12.5 %" in text_of(refused)
    assert client.post(edit, {"name": "Economy", "share": "10"}).status_code == 302
    delete = url_of(environment, "group_delete", "economy")
    client.post(delete)
    assert "the experiments prices are in it" in text_of(client.get(delete))
    assert client.post(own, {"group": "", "share": ""}).status_code == 302
    client.post(delete)
    assert not ExperimentGroup.objects.exists()


def test_players_of_an_ended_experiment__are_freed(environment: Environment) -> None:
    client = signed_in(Role.LIVE_OPS)
    group = group_create(environment=environment, key="economy", holdout=0, actor=ACTOR)
    draft = make_draft(environment, "prices")
    group_assign(draft, group, 25_000, actor=ACTOR)
    experiment_start(draft, actor=ACTOR)
    page, free = (
        url_of(environment, name, "prices") for name in ("experiment_detail", "experiment_leave")
    )
    refused = client.post(free)
    assert refused.status_code == 422
    assert "prices runs. Stop it first." in text_of(refused)
    assert "Stop it first" in text_of(client.get(free))
    assert "Free its players" not in text_of(client.get(page))
    experiment_stop(draft, actor=ACTOR)
    assert "Free its players" in text_of(client.get(page))
    assert "takes all players again" in text_of(client.get(free))
    assert client.post(free, {"everyone": "1"}).status_code == 200, "asks who switches only"
    assert "Free its players" in text_of(client.get(page))
    assert client.post(free).status_code == 302
    assert "Free its players" not in text_of(client.get(page))
    assert 'Free <span class="muted">100 %</span>' in text_of(
        client.get(url_of(environment, "group_list"))
    )
    assert "not limited" in text_of(client.get(free))
