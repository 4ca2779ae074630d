"""Values of metrics in files that MultiProcessCollector sums up.

They replace prometheus_client's own, which at each increment ask the kernel for the process id and
look up their place in the file. That took more than twice the time, on the path of every request.
"""

import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ilara_admin.core.variables import METRICS_FOLDER

INITIAL_BYTES = 1 << 16

_lock = threading.Lock()


def install() -> None:
    """Use these values for the metrics that are created afterwards, if there is a folder."""
    if METRICS_FOLDER in os.environ:
        values.ValueClass = SharedValue


@cache
def _file(kind: str) -> MmapedDict:
    # The name tells the collector the type of the metrics and the process.
    path = Path(os.environ[METRICS_FOLDER]) / f"{kind}_{os.getpid()}.db"
    if not path.exists():
        # The collector, which may read it at any moment, fails on an empty file.
        draft = path.with_suffix(".new")
        draft.write_bytes(bytes(INITIAL_BYTES))
        draft.rename(path)
    return MmapedDict(str(path))


class SharedValue:
    """A number in a file of this process. It must not be used after a fork."""

    _multiprocess = True

    def __init__(
        self,
        type: str,
        metric: str,
        name: str,
        label_names: Sequence[str],
        label_values: Sequence[str],
        help: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        key = mmap_key(metric, name, list(label_names), list(label_values), help)
        with _lock:
            file = _file(f"gauge_{multiprocess_mode}" if type == "gauge" else type)
            file.read_value(key)  # creates it
            start = file._positions[key]
            self._number = memoryview(file._m)[start : start + 8].cast("d")

    def inc(self, amount: float) -> None:
        with _lock:
            self._number[0] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _lock:
            self._number[0] = value

    def get(self) -> float:
        return self._number[0]

    def get_exemplar(self) -> None:
        """Exemplars are not kept."""
