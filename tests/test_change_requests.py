"""No sequence of steps lets through what was not approved: the real services and tables against a
model of what may be live."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flags.engine.document import FlagDocument, Rule, boolean_document
from flags.models import Flag
from flags.services import (
    flag_create,
    flag_set_archived,
    flag_set_enabled,
    flag_update,
    whole_of,
)
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import (
    items_of,
    request_apply,
    request_approve,
    request_edit,
    request_refuse,
    request_submit,
    request_withdraw,
)
from ilara_admin.core.changes import Conflict
from ilara_admin.core.guard import (
    Act,
    ApprovedChange,
    ChangeItem,
    Collected,
    Confirmation,
    GuardRequired,
    NotApprovedError,
)
from ilara_admin.core.projects import environment_update
from ilara_admin.models import AuditEntry, ChangeRequest, Environment, Role, User, Verdict
from tests.factories import ACTOR, make_environment, make_staff

KEYS = ("red", "blue")

type Content = tuple[bool, int | None]  # on, and the percentage of its rule, None without one


def document_of(content: Content) -> FlagDocument:
    on, share = content
    rules = () if share is None else (Rule(id="r", variant="enabled", rollout=share),)
    return boolean_document(enabled=on, rules=rules)


def gathered(change: Callable[[Actor], object], actor: Actor) -> list[ChangeItem]:
    """What a change would record."""
    found: list[Collected] = []
    with transaction.atomic():
        change(replace(actor, confirmation=Confirmation(collecting=found)))
        transaction.set_rollback(True)
    return [each.item for each in found]


def save(environment: Environment, key: str, content: Content) -> Callable[[Actor], object]:
    """Save a flag, as the editor does."""

    def change(actor: Actor) -> object:
        flag = Flag.objects.get(environment=environment, key=key)
        document = document_of(content)
        return flag_update(flag, document=document, base_revision=flag.revision, actor=actor)

    return change


@dataclass
class Written:
    """What the model knows of a request. `base` are the flags as the writer saw them."""

    wanted: dict[str, Content]
    base: dict[str, tuple[Content, bool]]
    writers: set[int]
    approvers: set[int] = field(default_factory=set)
    refused: bool = False
    closed: bool = False

    @property
    def may_be_applied(self) -> bool:
        return bool(self.approvers - self.writers) and not self.refused and not self.closed


class ChangeRequests(RuleBasedStateMachine):
    """Two guarded flags, three members of staff."""

    people: list[User]

    def __init__(self) -> None:
        super().__init__()
        self.around = transaction.atomic()
        self.around.__enter__()
        environment = make_environment()
        for key in KEYS:
            flag_create(environment=environment, key=key, document=boolean_document(), actor=ACTOR)
        acts = sorted(Act)
        environment_update(environment, {"guard_approval": acts}, actor=ACTOR)
        self.environment = Environment.objects.select_related("project").get(pk=environment.pk)
        self.live: dict[str, tuple[Content, bool]] = dict.fromkeys(KEYS, ((False, None), False))
        self.requests: dict[int, Written] = {}
        self.seen_entry = AuditEntry.objects.order_by("-id")[0].pk

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.around.__exit__(None, None, None)

    def person(self, number: int) -> Actor:
        return Actor.of_user(self.people[number])

    def request(self, number: int) -> ChangeRequest:
        pk = sorted(self.requests)[number % len(self.requests)]
        return ChangeRequest.objects.select_related("environment__project").get(pk=pk)

    def items(self, who: Actor, wanted: dict[str, Content]) -> list[ChangeItem]:
        changes = [save(self.environment, key, each) for key, each in wanted.items()]
        return gathered(lambda actor: [change(actor) for change in changes], who)

    def differing(self, wanted: dict[str, Content]) -> dict[str, Content]:
        return {key: each for key, each in wanted.items() if self.live[key][0] != each}

    people_in_turn = st.integers(0, 2)
    which = st.integers(0, 5)
    rarely = st.sampled_from([False, False, False, True])
    contents = st.tuples(st.booleans(), st.sampled_from([None, 1_000, 50_000]))
    changes = st.dictionaries(st.sampled_from(KEYS), contents, min_size=1)

    @rule(who=people_in_turn, wanted=changes)
    def submit(self, who: int, wanted: dict[str, Content]) -> None:
        actor, wanted = self.person(who), self.differing(wanted)
        if not wanted:
            return
        items = self.items(actor, wanted)
        request = request_submit(self.environment, items, actor=actor)
        base = {key: self.live[key] for key in wanted}
        self.requests[request.pk] = Written(wanted, base, {self.people[who].pk})

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which, wanted=changes)
    def edit(self, who: int, which: int, wanted: dict[str, Content]) -> None:
        request, wanted = self.request(which), self.differing(wanted)
        known = self.requests[request.pk]
        base = {key: self.live[key] for key in wanted}
        if not wanted:
            return
        items = self.items(self.person(who), wanted)
        same = [item.as_json() for item in items] == request.items
        try:
            request_edit(request, items, actor=self.person(who))
        except ValidationError:
            assert known.closed or same
            return
        assert not known.closed
        assert not same
        writers = {*known.writers, self.people[who].pk}
        self.requests[request.pk] = Written(wanted, base, writers)

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which, late=rarely)
    def approve(self, who: int, which: int, late: bool) -> None:
        """`late`: the person read another version."""
        request = self.request(which)
        known = self.requests[request.pk]
        seen = "0" * 64 if late else request.fingerprint
        try:
            request_approve(request, actor=self.person(who), fingerprint=seen)
        except ValidationError:
            return
        user = self.people[who].pk
        assert not late
        assert user not in known.writers
        assert not known.refused
        assert not known.closed
        known.approvers.add(user)

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which)
    def request_changes(self, who: int, which: int) -> None:
        if self.refuse(who, which):
            self.requests[self.request(which).pk].refused = True

    def refuse(self, who: int, which: int) -> bool:
        request, actor = self.request(which), self.person(who)
        try:
            request_refuse(request, actor=actor, fingerprint=request.fingerprint, comment="No")
        except ValidationError:
            return False
        return True

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which)
    def withdraw(self, who: int, which: int) -> None:
        request = self.request(which)
        with suppress(ValidationError):
            request_withdraw(request, actor=self.person(who))
            assert self.people[who].pk in self.requests[request.pk].writers
            self.requests[request.pk].closed = True

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which, late=rarely)
    def apply(self, who: int, which: int, late: bool) -> None:
        request = self.request(which)
        known = self.requests[request.pk]
        is_current = all(self.live[key] == seen for key, seen in known.base.items())
        possible = known.may_be_applied and is_current and not late
        seen = "0" * 64 if late else request.fingerprint
        try:
            with transaction.atomic():
                applied = request_apply(request, actor=self.person(who), fingerprint=seen)
        except (Conflict, ValidationError):
            assert not possible
            return
        assert possible
        known.closed = True
        assert {entry.change_request_id for entry in applied.entries} == {request.pk}
        for key, content in known.wanted.items():
            self.live[key] = (content, self.live[key][1])

    @precondition(lambda self: self.requests)
    @rule(which=which)
    def tamper(self, which: int) -> None:
        """Someone writes other changes into the table: they must not be applied."""
        request = self.request(which)
        items = [item.as_json() for item in items_of(request)]
        for side in (items[0]["after"], items[0]["whole"]):
            side["default"] = "enabled"
        items[0]["before"]["default"] = "disabled"
        with transaction.atomic():
            self.approve_by_another(request)
            ChangeRequest.objects.filter(pk=request.pk).update(items=items)
            with pytest.raises((Conflict, ValidationError)):
                request_apply(request, actor=self.person(0), fingerprint=request.fingerprint)
            transaction.set_rollback(True)

    def approve_by_another(self, request: ChangeRequest) -> None:
        for number in range(3):
            with suppress(ValidationError):
                actor = self.person(number)
                request_approve(request, actor=actor, fingerprint=request.fingerprint)

    @precondition(lambda self: self.requests)
    @rule(which=which, who=people_in_turn, wanted=changes)
    def edit_and_apply(self, which: int, who: int, wanted: dict[str, Content]) -> None:
        """An approval does not outlive an edit, also not one that is taken back."""
        request, wanted, actor = self.request(which), self.differing(wanted), self.person(who)
        first = items_of(request)
        if request.is_closed or not wanted:
            return
        with transaction.atomic():
            self.approve_by_another(request)
            for items in (self.items(actor, wanted), first):
                with suppress(ValidationError):  # the same content
                    edited = request_edit(request, items, actor=actor)
                    with pytest.raises(ValidationError, match="must approve"):
                        request_apply(edited, actor=actor, fingerprint=edited.fingerprint)
            transaction.set_rollback(True)

    @precondition(lambda self: self.requests)
    @rule(which=which, who=people_in_turn)
    def refuse_and_apply(self, which: int, who: int) -> None:
        """A refusal blocks, also after an approval, and no approval lifts it."""
        request = self.request(which)
        with transaction.atomic():
            self.approve_by_another(request)
            self.refuse(who, which)
            refused = ChangeRequest.objects.get(pk=request.pk).state == "refused"
            self.approve_by_another(request)
            if refused:
                with pytest.raises(ValidationError):
                    request_apply(request, actor=self.person(0), fingerprint=request.fingerprint)
            transaction.set_rollback(True)

    @precondition(lambda self: self.requests)
    @rule(who=people_in_turn, which=which, key=st.sampled_from(KEYS), content=contents)
    def borrow(self, who: int, which: int, key: str, content: Content) -> None:
        """A change of something else cannot be made under an approved request."""
        request = self.request(which)
        known = self.requests[request.pk]
        if self.live[key][0] == content or known.wanted.get(key) == content:
            return
        approved = ApprovedChange(request.pk, items_of(request))
        actor = replace(self.person(who), confirmation=Confirmation(approved=approved))
        with pytest.raises(NotApprovedError):
            save(self.environment, key, content)(actor)

    @rule(who=people_in_turn, key=st.sampled_from(KEYS), content=contents)
    def save_at_once(self, who: int, key: str, content: Content) -> None:
        """Without approval only turning off is possible."""
        (on, share), archived = self.live[key]
        if (on, share) == content:
            return
        change = save(self.environment, key, content)
        if content == (False, share):
            change(self.person(who))
            self.live[key] = (content, archived)
            return
        with pytest.raises(GuardRequired):
            change(self.person(who))

    @rule(key=st.sampled_from(KEYS))
    def turn_off(self, key: str) -> None:
        """The kill switch, also of something that a request changes."""
        (_, share), archived = self.live[key]
        flag_set_enabled(self.flag(key), False, actor=self.person(2))
        self.live[key] = ((False, share), archived)

    @rule(key=st.sampled_from(KEYS))
    def archive(self, key: str) -> None:
        flag_set_archived(self.flag(key), True, actor=self.person(1))
        self.live[key] = (self.live[key][0], True)

    @rule(key=st.sampled_from(KEYS), content=contents)
    def break_glass(self, key: str, content: Content) -> None:
        confirmed = Confirmation(reason="Down", break_glass=True)
        actor = replace(self.person(0), confirmation=confirmed)
        save(self.environment, key, content)(actor)
        flag_set_archived(self.flag(key), False, actor=actor)
        self.live[key] = (content, False)

    def flag(self, key: str) -> Flag:
        return Flag.objects.select_related("environment__project").get(
            environment=self.environment, key=key
        )

    @invariant()
    def live_is_what_was_allowed(self) -> None:
        for key, (content, archived) in self.live.items():
            flag = self.flag(key)
            assert flag.spec == document_of(content)
            assert (flag.archived_at is not None) == archived

    @invariant()
    def every_guarded_entry_was_approved_by_another(self) -> None:
        entries = AuditEntry.objects.filter(pk__gt=self.seen_entry, object_type="flag")
        for entry in entries.select_related("change_request").order_by("id"):
            self.seen_entry = entry.pk
            item = ChangeItem(
                entry.environment_id, entry.action, entry.object_id, entry.object_name,
                entry.before, entry.after, whole_of(self.flag(entry.object_id)),
            )  # fmt: skip
            if entry.break_glass or not item.acts:
                continue
            request = entry.change_request
            assert request is not None
            by = request.approvals.filter(verdict=Verdict.APPROVE, version=request.version)
            assert set(by.values_list("user_id", flat=True)) - set(request.writers)


@pytest.fixture
def guarded(db: None) -> None:
    environment = make_environment()
    for key in KEYS:
        flag_create(environment=environment, key=key, document=boolean_document(), actor=ACTOR)
    environment_update(environment, {"guard_approval": sorted(Act)}, actor=ACTOR)
    environments = Environment.objects.select_related("project")
    ChangeRequests.environment = environments.get(pk=environment.pk)
    ChangeRequests.people = [make_staff(Role.ADMIN) for _ in range(3)]


@pytest.mark.slow
def test_no_sequence__lets_unapproved_content_through(guarded: None) -> None:
    budget = settings(max_examples=12, stateful_step_count=25)
    run_state_machine_as_test(ChangeRequests, settings=budget)
