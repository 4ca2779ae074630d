"""The drivers of the clients: one process per language, which executes steps."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from ilara_admin.apidocs.clients import FOLDER
from ilara_admin.runtime.supervisor import ending_with_parent
from tests.processes import output_of, program

DRIVERS = Path(__file__).parent
LANGUAGES = ("python", "node", "go")


class Driver:
    """`keys` are the API keys of its clients by name, `options` those that some of them have. `log`
    is the file for its standard error."""

    def __init__(
        self,
        command: list[str],
        address: str,
        keys: Mapping[str, str],
        options: Mapping[str, Any],
        log: IO[bytes] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=ending_with_parent(),
        )
        self.send({"base_url": f"{address}/v1", "keys": keys, "options": options})

    def send(self, step: Mapping[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(step) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> Any:
        """The outcome of the oldest step not read yet: `{"result"}` or `{"error"}`."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the driver has ended: {self.process.args!r}"
        return json.loads(line)

    def do(self, client: str, call: str, /, **args: Any) -> Any:
        self.send({"as": client, "call": call, "args": args})
        return self.outcome()["result"]

    def end(self) -> None:
        """Close the input of the driver, which must then exit by itself."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            assert self.process.wait(30) == 0
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()


@contextmanager
def commands() -> Iterator[dict[str, list[str]]]:
    """The command that starts the driver of each language. Go's is compiled without a network."""
    node = program("node", "nodejs")
    program("go", "golang-go")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield {
            "python": [sys.executable, str(DRIVERS / "drive.py")],
            "node": [node, str(DRIVERS / "drive.mjs")],
            "go": [str(build_go(folder))],
        }


def build_go(folder: Path, main: Path = DRIVERS / "drive.go") -> Path:
    """Compile the client as a package with a program, as a game would."""
    (folder / "go.mod").write_text("module game\n\ngo 1.18\n")
    (folder / "ilara").mkdir()
    shutil.copy(FOLDER / "ilara.go", folder / "ilara")
    if main.parent != folder:
        shutil.copy(main, folder)
    go(folder, "vet", "./...")
    go(folder, "build", "-o", "drive")
    return folder / "drive"


def go(folder: Path, *arguments: str) -> None:
    offline = {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GO111MODULE": "on"}
    output_of(["go", *arguments], folder, CGO_ENABLED="0", **offline)


@contextmanager
def ending(drivers: Mapping[str, Driver]) -> Iterator[None]:
    with ExitStack() as stack:
        for driver in drivers.values():
            stack.callback(driver.end)
        yield
