"""The operation of the first migrations."""

import pytest
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState

from ilara_admin.core.table_creation import CreateTables

SHELF = migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))])
BOOK = migrations.CreateModel(
    "Book",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("shelf", models.ForeignKey("library.Shelf", models.CASCADE)),
    ],
)
TOP = migrations.RunSQL("INSERT INTO library_shelf DEFAULT VALUES", migrations.RunSQL.noop)
TABLES = [SHELF, TOP, BOOK]


def tables() -> set[str]:
    names = connection.introspection.table_names()
    return {name for name in names if name.startswith("library_")}


@pytest.mark.django_db
def test_tables__are_created_in_order_and_removed_again() -> None:
    operation, before, after = CreateTables(TABLES), ProjectState(), ProjectState()
    operation.state_forwards("library", after)
    with connection.schema_editor() as editor:
        operation.database_forwards("library", editor, before, after)
    assert tables() == {"library_shelf", "library_book"}
    with connection.cursor() as cursor:
        assert len(connection.introspection.get_relations(cursor, "library_book")) == 1
        cursor.execute("INSERT INTO library_book (shelf_id) SELECT id FROM library_shelf")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with connection.schema_editor() as editor:
        operation.database_backwards("library", editor, after, before)
    assert tables() == set()


def test_state__is_that_of_the_operations_and_renders_no_model_between() -> None:
    together, one_by_one = ProjectState(), ProjectState()
    assert not together.apps.get_models()  # rendered, as when Django migrates
    CreateTables(TABLES).state_forwards("library", together)
    assert "apps" not in together.__dict__
    for operation in TABLES:
        operation.state_forwards("library", one_by_one)
    assert together == one_by_one
    assert len(together.apps.get_models()) == 2
