"""What lies where, and the direction of imports: pure modules know no Django, apps and layers look
downwards only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = [
    "flags.engine.bucketing",
    "flags.engine.document",
    "flags.engine.evaluation",
    "flags.engine.schedule",
    "ilara_admin.apidocs.client_snippets",
    "ilara_admin.config.plan",
    "ilara_admin.api.enums",
    "ilara_admin.apidocs.schema_text",
    "ilara_admin.core.tokens",
    "players.churn_model.risk",
    "players.churn_model.fit",
    "players.lifecycle",
    "segments.editor.draft",
    "segments.language.references",
    "segments.language.parser",
]
# An app may import itself and the apps that stand before it.
APPS = ["ilara_admin", "players", "segments", "flags", "events"]
# Where everything comes together.
ASSEMBLY = (
    "ilara_admin/api_urls.py",
    "ilara_admin/urls.py",
    "ilara_admin/starter.py",
    "ilara_admin/demo",
    "ilara_admin/bootstrap.py",
    "ilara_admin/views",
    "ilara_admin/runtime/health.py",
    "ilara_admin/pages/",
    "ilara_admin/management/",
    "ilara_admin/config/",
    # A page shows whatever belongs on it: a player's page has their flags, an editor events' names.
    "players/views.py",
    "segments/views.py",
    "segments/editor/views.py",
)
# Events and flags stand side by side.
SIDEWAYS = {("events", "flags"), ("flags", "events")}
FACES = {"api", "views", "urls", "pages"}


def sources() -> Iterator[Path]:
    for app in APPS:
        yield from (ROOT / app).rglob("*.py")


def modules_imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_top_level__holds_the_apps_and_little_else() -> None:
    command = ["git", "ls-files"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this checkout is not a git repository of this user")
    kept = {path.partition("/")[0] for path in listing.stdout.splitlines()}
    others = {"README.md", "manage.py", "pyproject.toml", "static", "templates", "tests"}
    assert {name for name in kept if not name.startswith(".")} == {*APPS, *others}


@pytest.mark.parametrize("module", PURE)
def test_pure_module__imports_without_django(module: str) -> None:
    code = f"import sys; sys.modules['django'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_apps__import_only_the_apps_below_them() -> None:
    wrong = []
    for path in sources():
        place = path.relative_to(ROOT).as_posix()
        app = place.partition("/")[0]
        above = set(APPS[APPS.index(app) + 1 :])
        for module in modules_imported_by(path):
            other = module.partition(".")[0]
            if (other in above and not place.startswith(ASSEMBLY)) or (app, other) in SIDEWAYS:
                wrong.append(f"{place} imports {module}")
    assert not wrong


def test_faces_of_an_app__are_imported_by_no_other_app() -> None:
    """A view or endpoint is called by its address; what two apps share lies beneath both."""
    wrong = []
    for path in sources():
        place = path.relative_to(ROOT).as_posix()
        app = place.partition("/")[0]
        for module in modules_imported_by(path):
            other, _, rest = module.partition(".")
            shared = other in (app, "ilara_admin") or other not in APPS
            if not shared and rest.partition(".")[0] in FACES and not place.startswith(ASSEMBLY):
                wrong.append(f"{place} imports {module}")
    assert not wrong


def test_decisions__do_not_reach_for_the_request() -> None:
    """Models and services serve dashboard, API and commands alike."""
    wrong = []
    for path in sources():
        if path.stem not in ("models", "services", "audit") or path.parent.name == "pages":
            continue
        for module in modules_imported_by(path):
            if module.startswith(("django.http", "ilara_admin.api.dispatch")):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_own_logic__uses_no_signals() -> None:
    users = [path for path in sources() if "django.dispatch" in path.read_text()]
    connecting = [path for path in sources() if "_save.connect" in path.read_text()]
    assert not users + connecting
