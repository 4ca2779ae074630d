"""Import a million ids into a list, compared with COPY of the same file into a bare table.

`uv run python -m tests.benchmarks.segment_import [ids]`, on a temporary PostgreSQL.
"""

import sys
import uuid
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

from tests.benchmarks import database, timed

IDS = 1_000_000
PAGES = 200


def main(size: int) -> None:
    from django.db import connection

    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import project_create
    from ilara_admin.models import Environment
    from ilara_admin.starter import environment_start
    from segments.lists import services
    from segments.models import Segment, SegmentListChange, SegmentMember

    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment: Environment = project.environments.get(slug="live")
    environment_start(environment, actor)
    segment = Segment.objects.select_related("environment").get(environment=environment)
    names = [f"player_{uuid.uuid4().hex}" for _ in range(size)]
    data = "".join(f"{name}\n" for name in names).encode()
    pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    chunks: list[float] = []

    def copy() -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE bare (id uuid DEFAULT gen_random_uuid(), name text)")
            with cursor.copy("COPY bare (name) FROM STDIN") as copying:
                for piece in pieces:
                    copying.write(piece)

    def carry_out(change: SegmentListChange) -> Callable[[], Any]:
        chunks[:] = [perf_counter()]
        return lambda: services.list_run(change, pieces, lambda *_: chunks.append(perf_counter()))

    def page_by_prefix() -> float:
        found = SegmentMember.objects.starting_with(segment, "player_a", excluded=False)
        return timed(lambda: [list(found.all()[:50]) for _ in range(PAGES)]) / PAGES

    services.ids_add(segment, [f"player_a{n}" for n in range(100)], excluded=False, actor=actor)
    short = page_by_prefix()
    base = timed(copy)
    print(f"COPY of {size:,} ids into a bare table: {base:.1f} s")

    def report(what: str, seconds: float) -> None:
        print(f"{what:<34}{seconds / base:6.1f} times COPY, {size / seconds:9,.0f} ids/s")

    def new_import(replace: bool = False) -> SegmentListChange:
        return services.list_import(segment, excluded=False, actor=actor, replace=replace)

    first = new_import()
    report("import", timed(carry_out(first)))
    longest = max(after - before for before, after in pairwise(chunks))
    print(f"its longest chunk                 {longest:6.2f} s")
    report("the same file again", timed(carry_out(new_import())))
    report("replace by the same file", timed(carry_out(new_import(replace=True))))
    page = page_by_prefix()
    print(f"a page by prefix, long : short    {page / short:6.1f}, {page * 1000:.1f} ms")
    report("undo of the import", timed(carry_out(services.list_undo(first, actor=actor))))
    segment.refresh_from_db()
    assert segment.included == 0, segment.included


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else IDS)
