"""The layers: what they import, and which tables their SQL names."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).resolve().parent.parent
APPS = ("ilara_admin", "players", "events", "segments", "flags")
# A module may import its own layer and the layers in earlier rows. Layers in the same row must not
# import each other. `foundation` are the modules that Django expects at the root of ilara_admin.
LAYERS = (
    ("models",),
    ("core",),
    ("api", "web", "runtime"),
    ("foundation",),
    ("players",),
    ("events",),
    ("segments",),
    ("flags",),
    ("application",),
)
RANKS = {layer: rank for rank, row in enumerate(LAYERS) for layer in row}
FOUNDATION = {"settings", "apps", "checks", "migrations", "templatetags"}
WORD_OF_SQL = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\b")
TABLE_IN_SQL = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(?:ONLY\s+|IF\s+\w+\s+)*\"?(\w+)")
CREATED_TABLE = re.compile(r"\bCREATE TABLE\s+(?:IF NOT EXISTS\s+)?\"?(\w+)")

# Packages and modules without database access, which import no Django.
PURE = (
    "flags.engine",
    "flags.results.outcome",
    "flags.results.result_text",
    "flags.results.statistics",
    "ilara_admin.api.enums",
    "ilara_admin.apidocs.client_snippets",
    "ilara_admin.apidocs.schema_text",
    "ilara_admin.config.comparison",
    "ilara_admin.config.copying",
    "ilara_admin.config.plan",
    "ilara_admin.core.confidence",
    "ilara_admin.core.json_equality",
    "ilara_admin.core.local_times",
    "ilara_admin.core.structs",
    "ilara_admin.core.times",
    "ilara_admin.core.tokens",
    "ilara_admin.web.chart_axes",
    "ilara_admin.web.chart_markup",
    "ilara_admin.web.charts",
    "players.attribute_types",
    "players.churn_model",
    "players.lifecycle",
    "segments.editor.draft",
    "segments.keys",
    "segments.language",
)

IMPORT_EACH = """
import importlib, json, sys
sys.modules["django"] = None
apps, groups = json.loads(sys.argv[1])
for group in groups:
    for name in [name for name in sys.modules if name.partition(".")[0] in apps]:
        del sys.modules[name]
    for name in group:
        importlib.import_module(name)
"""


@cache
def tree_of(path: Path) -> ast.Module:
    """Several tests read each module."""
    return ast.parse(path.read_text())


@cache
def statements_of(path: Path) -> list[ast.AST]:
    """All statements of a file. Walking through expressions, too, takes much longer."""
    found: list[ast.AST] = [tree_of(path)]
    for node in found:
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            found += getattr(node, block, ())
    return found


def sources() -> Iterator[Path]:
    for app in APPS:
        yield from (ROOT / app).rglob("*.py")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str | None:
    """The layer of a module; None for other packages and for ilara_admin itself, which is empty."""
    app, _, rest = module.partition(".")
    if app not in APPS:
        return None
    if app != "ilara_admin":
        return app
    part = rest.partition(".")[0]
    if part in FOUNDATION:
        return "foundation"
    if not part:
        return None
    return part if part in RANKS else "application"


def allowed(layer: str, other: str) -> bool:
    return other == layer or RANKS[other] < RANKS[layer]


def modules_imported_by(path: Path) -> set[str]:
    """All imports of a file, including those in functions and for type checkers."""
    found: set[str] = set()
    for node in statements_of(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def strings_of(path: Path) -> Iterator[str]:
    """The strings of a file, with "?" for the expressions of f-strings."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield " ? ".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def layers_of_tables() -> dict[str, str]:
    """The layer of each table, from the models and the SQL of migrations."""
    found = {}
    for app in APPS:
        layer = "models" if app == "ilara_admin" else app
        for model in apps.get_app_config(app).get_models():
            found[model._meta.db_table] = layer
        for path in (ROOT / app / "migrations").glob("*.py"):
            for text in strings_of(path):
                found |= dict.fromkeys(CREATED_TABLE.findall(text), layer)
    return found


def test_top_level__has_only_the_apps_and_known_files() -> None:
    command = ["git", "ls-files"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this checkout is not a git repository of this user")
    tracked = {path.partition("/")[0] for path in listing.stdout.splitlines()}
    others = {"README.md", "manage.py", "pyproject.toml", "static", "templates", "tests"}
    assert {name for name in tracked if not name.startswith(".")} == {*APPS, *others}


def test_layers__import_only_lower_layers() -> None:
    wrong = []
    for path in sources():
        layer = layer_of(name_of(path))
        for module in modules_imported_by(path):
            other = layer_of(module)
            if layer and other and not allowed(layer, other):
                wrong.append(f"{path.relative_to(ROOT)} ({layer}) imports {module} ({other})")
    assert not wrong, "\n".join(sorted(wrong))


def test_layers__name_no_tables_of_higher_layers() -> None:
    owners = layers_of_tables()
    assert {"event", "event_default", "player", "environment"} <= set(owners)
    wrong = set()
    for path in sources():
        if not WORD_OF_SQL.search(path.read_text()):
            continue
        layer = layer_of(name_of(path))
        for text in strings_of(path):
            for table in TABLE_IN_SQL.findall(text):
                other = owners.get(table)
                if layer and other and not allowed(layer, other):
                    wrong.add(f"{path.relative_to(ROOT)} ({layer}) names {table} ({other})")
    assert not wrong, "\n".join(sorted(wrong))


def test_packages__have_a_docstring_of_one_sentence() -> None:
    wrong = []
    for path in sources():
        if path.name != "__init__.py" or path.parent.name in ("migrations", "commands"):
            continue
        text = (ast.get_docstring(tree_of(path)) or "").partition("\n\n")[0]
        if not re.fullmatch(r"(?s)(?!.*\. ).*\bimports?\b.*\.", text):
            wrong.append(f"{path.relative_to(ROOT)}: {text!r}")
    assert not wrong, "\n".join(sorted(wrong))


def test_pure_modules__import_without_django() -> None:
    """In one process, which imports each with nothing of ours loaded."""
    groups = []
    for name in PURE:
        path = ROOT / name.replace(".", "/")
        groups.append([name_of(each) for each in path.rglob("*.py")] if path.is_dir() else [name])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, json.dumps([APPS, groups])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_models_and_services__do_not_import_the_request() -> None:
    """The dashboard, the API and the commands share models and services."""
    wrong = []
    for path in sources():
        if path.stem not in ("models", "services", "audit") or path.parent.name == "pages":
            continue
        for module in modules_imported_by(path):
            if module.startswith(("django.http", "ilara_admin.api.dispatch")):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_signals__are_not_used() -> None:
    users = [path for path in sources() if "django.dispatch" in path.read_text()]
    connecting = [path for path in sources() if "_save.connect" in path.read_text()]
    assert not users + connecting


def test_types__are_read_by_core_structs_only() -> None:
    """Elsewhere, threads that read a type for the first time at once would end the process."""
    reads = re.compile(
        r"msgspec\.convert\b"
        r"|msgspec\.json\.decode\((?:[^()]|\([^()]*\))*\btype="
        r"|msgspec\.json\.Decoder\((?!float_hook=|\))"
    )
    users = [name_of(path) for path in sources() if reads.search(path.read_text())]
    assert users == ["ilara_admin.core.structs"]


def test_classes__have_unique_names() -> None:
    """Names that Django and its commands prescribe are exempt."""
    prescribed = {"Meta", "Command", "Migration", "DatabaseWrapper"}
    places: dict[str, list[str]] = {}
    for path in sources():
        for node in statements_of(path):
            name = node.name if isinstance(node, ast.ClassDef | ast.TypeAlias) else None
            name = name.id if isinstance(name, ast.Name) else name
            if name and name not in prescribed:
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert not {name: files for name, files in places.items() if len(files) > 1}
