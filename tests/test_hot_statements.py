"""The statements of the hot path suit sharding by player: Citus sends each to the one shard that
holds the player.

Each call is made once, and what it ran is read with PostgreSQL's own parser.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pglast
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pglast import ast
from pglast.enums import A_Expr_Kind

from flags.engine.document import Rule, boolean_document
from flags.services import flag_create
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, FLAGS, PLAYERS, SEGMENTS, Api
from tests.factories import ACTOR

OFREP = "/ofrep/v1/evaluate/flags"

# The column that the rows of each distributed table belong to a player by.
KEYS = {
    "player": "id",
    "event": "player_id",
    "event_receipt": "player_id",
    "player_session": "player_id",
    "purchase": "player_id",
    "segment_member": "player_id",
    "flag_override": "player_id",
}
EQUALITIES = (A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_IN)
QUERIES = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)


def problems_of(sql: str) -> list[str]:
    """What Citus would refuse or send to every shard."""
    found = []
    for query in nodes(pglast.parse_sql(sql)):
        if not isinstance(query, QUERIES) or isinstance(query, ast.InsertStmt):
            continue
        own = list(nodes(query, nested=False))
        tables = {
            str(node.alias.aliasname if node.alias else node.relname): node.relname
            for node in own
            if isinstance(node, ast.RangeVar) and node.relname in KEYS
        }
        keyed = set()
        for key, other in equalities(own):
            name = table_of(key, tables)
            if name is None:
                continue
            if by_parameter(other):
                keyed.add(name)
            elif isinstance(other, ast.ColumnRef):
                found.append(f"compares {text_of(key)} with {text_of(other)}")
        if any(isinstance(node, ast.LockingClause) for node in own):
            # Citus locks rows in single-shard queries only.
            if sum(isinstance(node, ast.RangeVar) for node in own) > 1:
                found.append("locks rows in a join")
            elif not any(
                isinstance(other, ast.ParamRef) and table_of(key, tables)
                for key, other in equalities(own, [A_Expr_Kind.AEXPR_OP])
            ):
                found.append("locks rows of several players")
        found += [f"{tables[name]} is not found by a parameter" for name in tables.keys() - keyed]
    return found


def nodes(tree: Any, *, nested: bool = True) -> Iterator[Any]:
    """The nodes of a statement; without `nested` not those of the queries within it."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, tuple):
            pending += node
        elif isinstance(node, ast.Node) and (
            node is tree or nested or not isinstance(node, QUERIES)
        ):
            yield node
            pending += [getattr(node, name) for name in node]


def equalities(
    own: list[Any], kinds: Sequence[A_Expr_Kind] = EQUALITIES
) -> Iterator[tuple[Any, Any]]:
    for node in own:
        if not isinstance(node, ast.A_Expr) or node.kind not in kinds:
            continue
        if [part.sval for part in node.name or ()] == ["="]:
            yield node.lexpr, node.rexpr
            yield node.rexpr, node.lexpr


def table_of(key: Any, tables: dict[str, str]) -> str | None:
    """The alias of the table whose key this expression is."""
    if not isinstance(key, ast.ColumnRef):
        return None
    *qualifier, column = text_of(key).split(".")
    names = qualifier or list(tables)
    return next((name for name in names if KEYS.get(tables.get(name, "")) == column), None)


def text_of(column: ast.ColumnRef) -> str:
    return ".".join(getattr(field, "sval", "*") for field in column.fields or ())


def by_parameter(value: Any) -> bool:
    """Whether it is known before any row is read. Aliases are a reference table."""
    parameter = any(isinstance(node, ast.ParamRef) for node in nodes(value))
    return parameter and not any(
        isinstance(node, ast.ColumnRef) for node in nodes(value, nested=False)
    )


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM player p WHERE p.id = $1", []),
        ("SELECT 1 FROM player WHERE id = ANY($1::uuid[])", []),
        (
            "SELECT 1 FROM player p WHERE p.id = coalesce((SELECT a.x FROM a WHERE a.y = $1), $1)",
            [],
        ),
        ("SELECT 1 FROM environment e LEFT JOIN player p ON p.id = $2 WHERE e.id = $1", []),
        ("SELECT 1 FROM player p WHERE p.email = $1", ["player is not found by a parameter"]),
        (
            """SELECT (SELECT count(*) FROM event e WHERE e.player_id = p.id)
               FROM player p WHERE p.id = $1""",
            ["compares e.player_id with p.id", "event is not found by a parameter"],
        ),
        (
            "UPDATE player p SET email = NULL FROM target t WHERE p.id = t.id",
            ["compares p.id with t.id", "player is not found by a parameter"],
        ),
        ("SELECT 1 FROM player p WHERE p.id = $1 FOR UPDATE", []),
        (
            "SELECT 1 FROM player p, environment e WHERE p.id = $1 FOR UPDATE OF p",
            ["locks rows in a join"],
        ),
        (
            "SELECT 1 FROM player p WHERE p.id = ANY ($1) FOR UPDATE",
            ["locks rows of several players"],
        ),
    ],
)
def test_statement__has_these_problems(sql: str, expected: list[str]) -> None:
    assert sorted(problems_of(sql)) == expected


@pytest.fixture
def hot_flag(environment: Environment) -> None:
    """A flag that needs all that a rule can ask for."""
    played = {"event": "start", "operator": ">=", "value": 1, "within": "7d"}
    conditions = {"operator": "AND", "conditions": [played]}
    rule = Rule(id="r", conditions=conditions, segment="beta-testers", variant="enabled")
    flag_create(
        environment=environment,
        key="hot",
        document=boolean_document(enabled=True, rules=(rule,)),
        actor=ACTOR,
    )


PLAYER = {"player_id": "{id}"}
EVENT = {"player_id": "{id}", "event_name": "start"}
LOCKS = pytest.mark.xfail(
    strict=True, reason="locks players in an order, so that batches cannot deadlock"
)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", f"{FLAGS}/hot/evaluate", PLAYER, id="evaluate"),
        pytest.param("POST", f"{FLAGS}/evaluate", PLAYER, id="evaluate all"),
        pytest.param("POST", f"{OFREP}/hot", {"context": {"targetingKey": "{id}"}}, id="ofrep"),
        pytest.param("POST", OFREP, {"context": {"targetingKey": "player_123"}}, id="ofrep all"),
        pytest.param("POST", f"{SEGMENTS}/beta-testers/evaluate", PLAYER, id="segment"),
        pytest.param("GET", "/v1/segments/player/{id}", None, id="segments"),
        pytest.param("GET", f"{PLAYERS}/{{id}}", None, id="get"),
        pytest.param("GET", f"{PLAYERS}/external/player_123", None, id="get by external id"),
        pytest.param("GET", f"{PLAYERS}/{{id}}/lifecycle", None, id="lifecycle"),
        pytest.param("GET", f"{PLAYERS}/{{id}}/churn-risk", None, id="churn risk"),
        pytest.param("PATCH", f"{PLAYERS}/{{id}}", {"email": None}, id="patch"),
        pytest.param("POST", PLAYERS, {"external_id": "player_123"}, id="register"),
        pytest.param("POST", f"{PLAYERS}/{{id}}/session", None, id="session"),
        pytest.param("POST", f"{PLAYERS}/{{id}}/purchase?amount=1", None, id="purchase"),
        pytest.param("POST", EVENTS, EVENT, id="track"),
        pytest.param("POST", EVENTS, {**EVENT, "event_id": "e"}, id="track with an id"),
        pytest.param("POST", f"{EVENTS}/batch", {"events": [EVENT] * 2}, id="batch", marks=LOCKS),
    ],
)
def test_hot_statement__asks_one_shard(
    method: str, path: str, body: Any, player: Player, hot_flag: None, public_api: Api
) -> None:
    path, text = path.format(id=player.id), json.dumps(body).replace("{id}", str(player.id))
    public_api.get(f"{PLAYERS}/{player.id}")  # loads the environment
    with CaptureQueriesContext(connection) as queries:
        reply = public_api.request(method, path, json.loads(text))
    assert reply.status in (200, 201), reply.json
    assert [problems_of(query["sql"]) for query in queries] == [[]]
