"""The fields of a form as a browser without JavaScript would send them."""

from html.parser import HTMLParser


class _Forms(HTMLParser):
    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id = form_id
        self.inside = False
        self.select = self.area = ""
        self.chosen: str | None = None
        self.fields: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        name = found.get("name", "")
        if tag == "form":
            self.inside = found.get("id") == self.form_id
        elif not self.inside:
            return
        elif tag == "input" and (found.get("type") not in ("checkbox", "radio") or (
            "checked" in found
        )):  # fmt: skip
            if "disabled" not in found:
                self.fields.setdefault(name, []).append(found.get("value", ""))
        elif tag == "select":
            self.select, self.chosen = name, None
        elif tag == "option" and self.select and "disabled" not in found:
            if "selected" in found or self.chosen is None:
                self.chosen = found.get("value", "")
        elif tag == "textarea":
            self.area = name
            self.fields[name] = [""]

    def handle_data(self, data: str) -> None:
        if self.area:
            self.fields[self.area][0] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self.area:
            # A browser drops the leading line break that Django adds.
            self.fields[self.area][0] = (
                self.fields[self.area][0].removeprefix("\r").removeprefix("\n")
            )
            self.area = ""
        elif tag == "select" and self.select:
            if self.chosen is not None:
                self.fields[self.select] = [self.chosen]
            self.select = ""
        elif tag == "form":
            self.inside = False


def fields_of(html: str, form_id: str) -> dict[str, list[str]]:
    """The fields that the form would send without a button, for Client.post."""
    parser = _Forms(form_id)
    parser.feed(html)
    return parser.fields
