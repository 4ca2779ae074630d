"""Types that several threads read for the first time at once."""

import subprocess
import sys

import pytest

RACE = """
import json, sys, threading
from msgspec import defstruct
from ilara_admin.core.structs import converter, decoder

sys.setswitchinterval(1e-6)
fields = [f"f{number}" for number in range(20)]
part = dict.fromkeys(fields, 1)
data = {name: part for name in fields}
text = json.dumps(data)
for _ in range(300):
    Part = defstruct("Part", [(name, int) for name in fields])
    Whole = defstruct("Whole", [(name, Part | None) for name in fields])
    barrier, found = threading.Barrier(4), []

    def read():
        barrier.wait()
        found.append(READ)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and found[0].f0.f0 == 1
"""


@pytest.mark.parametrize("read", ["converter(Whole)(data)", "decoder(Whole).decode(text)"])
def test_threads__read_a_new_type_at_once(read: str) -> None:
    script = RACE.replace("READ", read)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
