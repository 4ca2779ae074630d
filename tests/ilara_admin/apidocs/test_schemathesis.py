"""The specification against a running server: what it allows is accepted, what it forbids is
refused, and every reply is documented."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.api_client import PLAYERS
from tests.running import Serve
from tests.used_homes import UsedHomes

# A stream does not end: check only its first events, for a short time.
SETTINGS = """
[[operations]]
include-operation-id = "event_stream"
max-stream-events = 3
request-timeout = 1.5
"""
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "15")  # per operation


@pytest.mark.slow
@pytest.mark.skipif(bool(settings.DATABASE_URL), reason="starts an embedded database")
def test_specification__matches_the_server(used_homes: UsedHomes, tmp_path: Path) -> None:
    with used_homes() as used:
        serve = Serve(used.home, "--workers", "1", printed=used.printed)
        try:
            serve.ready()
            (tmp_path / "schemathesis.toml").write_text(SETTINGS)
            player = serve.api().post(PLAYERS, {"external_id": "player_123"}).data
            run = subprocess.run(
                [
                    *[str(Path(sys.executable).with_name("schemathesis")), "run"],
                    f"{serve.address}/v1/openapi.json",
                    *["--header", f"X-API-Key: {serve.says('live secret')}"],
                    *["--max-examples", EXAMPLES, "--no-color"],
                    # Few texts match the patterns of names.
                    "--suppress-health-check=filter_too_much",
                    *["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"],
                ],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "SCHEMATHESIS_HOOKS": "tests.ilara_admin.apidocs.schemathesis_hooks",
                    "PYTHONPATH": str(settings.BASE_DIR),
                    "REGISTERED_PLAYER": player["id"],
                    "ADDRESS": serve.address,
                    "SECRET": serve.says("live secret"),
                },
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            serve.clean_up()
    assert run.returncode == 0, run.stdout + run.stderr
