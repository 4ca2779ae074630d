"""The rule editor: parts as forms, buttons, and errors shown at the parts they concern.

A page's form may contain several editors, each with its own name. With the template
segments/_rule.html in that form, a view needs

    editor = rule_editor("rule", request.POST or None, segments, document)
    if editor.acted: ...                        render the page again without saving
    elif (rule := editor.read()) is None: ...   render it with status 422

With optional_editor and the template segments/_optional_rule.html, the rule may be left out, and
it is folded to a sentence until staff edit it.

With the root "where" and the template segments/_where.html, the rule is over the properties of an
event. It may have no conditions, see Editor.is_empty.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.http import QueryDict

from ilara_admin.web.suggestions import Suggestions
from segments.editor.draft import (
    FOLDED,
    LEVELS,
    Draft,
    RootKind,
    act,
    draft_of,
    json_draft,
    new_rule,
    read_draft,
)
from segments.editor.part_forms import FORMS, JsonForm, PartForm
from segments.language.parser import RuleError, parse, parse_where
from segments.language.sentences import describe

# The name of all buttons. `json` and `rows` switch the mode; `edit`, `fold` and `clear` belong to a
# rule that may be left out.
ACT = "rule-act"
_STEP = re.compile(r"conditions\[(\d+)\]")


@dataclass(slots=True)
class RulePart:
    """A part of a rule on the page. `number` is its visible number, "2.1"; empty for the rule.
    `values` are suggested for its value."""

    name: str
    number: str
    form: PartForm
    parts: list["RulePart"] = field(default_factory=list)
    level: int = 1
    values: Sequence[str] = ()

    @property
    def kind(self) -> str:
        return self.form.kind

    @property
    def may_nest(self) -> bool:
        return self.level < LEVELS

    @property
    def label(self) -> str:
        """`Condition 2.1`, `Group 3`."""
        nouns = {"group": "Group", "property": "Property", "json": "JSON"}
        return f"{nouns.get(self.kind, 'Condition')} {self.number}" if self.number else "Rule"

    @property
    def removal(self) -> str:
        return f"Remove {self.label[0].lower()}{self.label[1:]}"

    @property
    def inside(self) -> str:
        """Distinguishes the labels of add buttons in different parts."""
        return f" to {self.label.lower()}" if self.number else ""

    def all(self) -> Iterator["RulePart"]:
        yield self
        for part in self.parts:
            yield from part.all()

    def document(self) -> Any:
        return self.form.document([part.document() for part in self.parts])


class RuleProblem(NamedTuple):
    """`id` is the control's element id, "" if the error has no single control."""

    id: str
    where: str
    message: str


@dataclass(slots=True)
class Editor:
    """`acted` means that a button changed the draft, so nothing is saved. `focus` names the control
    or button to focus. A `folded` rule is shown as a sentence and is not being edited."""

    name: str
    root: RulePart
    segments: Suggestions
    acted: bool = False
    focus: str = ""
    folded: bool = False
    kind: RootKind = "group"

    @property
    def is_empty(self) -> bool:
        """Whether it has no conditions, as a rule over events may."""
        return self.root.kind == "where" and not self.root.parts

    @property
    def sentence(self) -> str:
        """A folded rule in words."""
        return describe(parse(json.loads(self.json)))

    @property
    def json(self) -> str:
        """The text of a rule that is edited as JSON, or folded."""
        return str(self.root.form["json"].value())

    def read(self) -> Any:
        """The typed rule, or None after adding errors to the forms."""
        # A list, so that every part is validated and shows its errors.
        valid = [part.form.is_valid() for part in self.root.all()]
        if not all(valid):
            return None
        document = self.root.document()
        try:
            READ[self.kind](document)
        except RuleError as error:
            self.fault(error.path, error.message)
            return None
        return document

    def fault(self, path: str, message: str) -> None:
        """Add an error at a path of the document to the part that was typed for it."""
        part, end = self.root, 0
        for step in _STEP.finditer(path):
            index = int(step[1])
            if index >= len(part.parts):
                break
            part, end = part.parts[index], step.end()
        part.form.fault(path[end:].lstrip("."), message)

    def refused(self, error: ValidationError) -> bool:
        """Show the error if services.check_rule rejected the rule; returns whether it did."""
        for found in getattr(error, "error_dict", {}).get("rule", ()):
            if isinstance(found.params, dict):
                self.fault(found.params["path"], found.params["message"])
                return True
        return False

    @property
    def faults(self) -> list[RuleProblem]:
        found: list[RuleProblem] = []
        if self.is_empty:
            return found
        for part in self.root.all():
            if not part.form.is_bound:
                continue
            for name, messages in part.form.errors.items():
                bound = part.form[name] if name in part.form.fields else None
                # For a group of checkboxes, the first one.
                place = (bound.id_for_label or f"{bound.auto_id}_0") if bound else ""
                where = f"{part.label}, {bound.label.lower()}" if bound else part.label
                found += [RuleProblem(place, where, str(message)) for message in messages]
        return found


READ = {"group": parse, "where": parse_where}


def rule_editor(
    name: str,
    posted: QueryDict | None,
    segments: Suggestions,
    document: Any = None,
    kind: RootKind = "group",
) -> Editor:
    """The editor after a request: from the posted data, else from a document, else a new rule.
    `segments` are those that a rule may refer to."""
    if posted is None:
        return _opened(name, segments, document, kind)
    draft = read_draft(dict(posted.lists()), name, kind)
    action = posted.get(ACT, "")
    verb, _, place = action.partition(" ")
    if verb in ("json", "rows") and place == name:
        root = _part(draft, name, segments, bound=True)
        return _switched(Editor(name, root, segments, kind=kind), verb)
    if verb and (place == name or place.startswith(f"{name}-")):
        focus = act(draft, name, action)
        return _editor(draft, name, segments, acted=True, focus=focus, kind=kind)
    return _editor(draft, name, segments, acted=bool(verb), bound=not verb, kind=kind)


def optional_editor(
    name: str,
    posted: QueryDict | None,
    segments: Suggestions,
    document: Any = None,
    *,
    was: str = "",
    checked: bool = False,
) -> Editor | None:
    """Like rule_editor, for a rule that may be left out: None without one. `was` is its name in the
    posted data, if its row moved. `checked` shows the errors of what was typed."""
    if posted is None:
        return None if document is None else _folded(name, segments, document)
    verb, _, place = posted.get(ACT, "").partition(" ")
    pressed = verb if place == name else ""
    kind = posted.get(f"{was or name}-kind", "")
    if pressed == "clear" or not (kind or pressed == "edit"):
        return None
    if not kind:
        return _editor(new_rule(), name, segments, acted=True, focus=f"{name}-0-field")
    if pressed == "fold" or kind == FOLDED:
        draft = read_draft(dict(posted.lists()), was or name)
        editor = Editor(name, _part(draft, name, segments, bound=True), segments, acted=True)
        rule = editor.read()
        if rule is None:
            return editor
        if pressed == "edit":
            return _shown(draft_of(rule), name, segments)
        return _folded(name, segments, rule, focus=f"{name}-edit" if pressed else "")
    if place == name or place.startswith(f"{name}-"):
        return rule_editor(name, posted, segments)
    draft = read_draft(dict(posted.lists()), was or name)
    return _editor(draft, name, segments, bound=checked)


def _folded(name: str, segments: Suggestions, document: Any, focus: str = "") -> Editor:
    """A valid rule as a sentence; an invalid one as JSON with its error."""
    editor = _opened(name, segments, document)
    if editor.root.form.is_bound:
        return editor
    found = _editor(json_draft(document), name, segments, focus=focus, bound=True)
    return replace(found, folded=True)


def _opened(name: str, segments: Suggestions, document: Any, kind: RootKind = "group") -> Editor:
    if document is None:
        return _editor(new_rule(kind), name, segments, kind=kind)
    try:
        READ[kind](document)
    except RuleError as error:
        draft = json_draft(document)
        editor = Editor(name, _part(draft, name, segments, bound=True), segments, kind=kind)
        editor.root.form.is_valid()
        editor.fault(error.path, error.message)
        return editor
    return _editor(draft_of(document, root=kind), name, segments, kind=kind)


def _switched(editor: Editor, verb: str) -> Editor:
    """The same rule in the other mode, or unchanged with errors if it is invalid."""
    document = editor.read()
    if document is None:
        return editor
    draft = json_draft(document) if verb == "json" else draft_of(document, root=editor.kind)
    return _shown(draft, editor.name, editor.segments, editor.kind)


def _shown(draft: Draft, name: str, segments: Suggestions, kind: RootKind = "group") -> Editor:
    """The editor with the focus on its first control."""
    focus = f"{name}-{'json' if draft.kind == 'json' else 'operator'}"
    return _editor(draft, name, segments, acted=True, focus=focus, kind=kind)


def _editor(
    draft: Draft, name: str, segments: Suggestions, *, acted: bool = False, focus: str = "",
    bound: bool = False, kind: RootKind = "group",
) -> Editor:  # fmt: skip
    root = _part(draft, name, segments, bound=bound)
    editor = Editor(name, root, segments, acted, focus, kind=kind)
    for part in editor.root.all():
        for bound_field in part.form:
            if bound_field.html_name == focus:
                bound_field.field.widget.attrs["autofocus"] = True
    return editor


def _part(
    draft: Draft, name: str, segments: Suggestions, *, bound: bool, number: str = "",
    level: int = 1,
) -> RulePart:  # fmt: skip
    # Bound or not, a part shows what was typed. The data holds lists as they are.
    form_class = FORMS[draft.kind]
    form: PartForm
    if bound:
        form = form_class(
            {f"{name}-{key}": value for key, value in draft.typed.items()},
            prefix=name,
            segments=segments,
        )
    else:
        form = form_class(prefix=name, initial=draft.typed, segments=segments)
    if isinstance(form, JsonForm):
        form.whole = level == 1
    parts = [
        _part(
            inner, f"{name}-{index}", segments, bound=bound, level=level + 1,
            number=f"{number}.{index + 1}".lstrip("."),
        )
        for index, inner in enumerate(draft.parts)
    ]  # fmt: skip
    return RulePart(name, number, form, parts, level)
