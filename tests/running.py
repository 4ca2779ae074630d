"""`manage.py serve` in a subprocess, observed from outside."""

import http.client
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from django.conf import settings

from ilara_admin.runtime.supervisor import ending_with_parent
from tests.api_client import HttpApi
from tests.homes import HANG_SECONDS, wait_until
from tests.processes import alive, families

# `serve` starts no PostgreSQL where DATABASE_URL names one.
on_embedded_database = pytest.mark.skipif(
    bool(settings.DATABASE_URL), reason="DATABASE_URL replaces the database under test"
)
OTHER_USER = pwd.getpwnam("nobody")
TOKEN = re.compile(r"\b[ps]k_(?:live|test)_\w+")


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter with the packages of this one, and the user that runs it."""

    path: Path
    environment: Mapping[str, str]
    uid: int | None = None

    def start(self, *arguments: str, folder: Path, **options: Any) -> "subprocess.Popen[str]":
        environment = {**clean_environment(), **self.environment, **options.pop("env", {})}
        if self.uid is not None:
            options |= {"user": self.uid, "group": OTHER_USER.pw_gid, "extra_groups": []}
        command = [str(self.path), *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, text=True, **options)


def clean_environment() -> dict[str, str]:
    """The environment variables without those that configure Ilara."""
    ours = {"DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG", "DJANGO_SETTINGS_MODULE"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("ILARA_", "PYTEST_", "UV"))
    }


_end_with_parent = ending_with_parent()


def _in_a_terminal() -> None:
    """Reset SIGHUP: tests may run under nohup, where `serve` correctly ignores it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _end_with_parent()


OURS = Python(Path(sys.executable), {})


@contextmanager
def python_of_other_user() -> Iterator[Python]:
    """This interpreter, run as an ordinary user; for root only. It is copied to a folder that every
    user may enter, unless it is in one: it is often below root's home."""
    packages = Path(importlib.util.find_spec("django").origin).parents[1]  # type: ignore[union-attr, arg-type]
    base = Path(sys.base_prefix).resolve()
    if all(open_to_others(place) for place in (base, packages, Path(sys.executable).parent)):
        yield Python(Path(sys.executable), {}, OTHER_USER.pw_uid)
        return
    copy = Path(tempfile.mkdtemp(prefix="ilara-python-"))
    try:
        copy.chmod(0o755)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        binary = copy / "bin" / version
        binary.parent.mkdir()
        shutil.copy2(Path(sys._base_executable).resolve(), binary)  # type: ignore[attr-defined]
        library = copy / "lib" / version
        ignore = shutil.ignore_patterns("test", "site-packages", "idlelib", "config-*")
        shutil.copytree(base / "lib" / version, library, ignore=ignore)
        for shared in (base / "lib").glob("libpython*"):
            shutil.copy2(shared, copy / "lib")
        if open_to_others(packages):
            (library / "site-packages").mkdir()
            (library / "site-packages" / "packages.pth").write_text(f"{packages}\n")
        else:
            shutil.copytree(packages, library / "site-packages")
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        yield Python(binary, {"LD_LIBRARY_PATH": str(copy / "lib")}, OTHER_USER.pw_uid)
    finally:
        shutil.rmtree(copy)


def open_to_others(path: Path) -> bool:
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def free_port(host: str = "127.0.0.1") -> int:
    """A port below the kernel's ephemeral range, so that no connection takes it while a server
    starts or restarts."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError), socket.create_server((host, port)):
            return port


def after_label(label: str, printed: str) -> str:
    """The text after a label in the output of `serve`, including continuation lines."""
    found = re.search(rf"^  {label}  +(.*(?:\n {{10,}}.*)*)", printed, re.MULTILINE)
    assert found, printed
    return " ".join(found[1].split())


class Serve:
    """A running `manage.py serve`. Its output goes to files, so that it never blocks."""

    def __init__(
        self,
        home: Path,
        *options: str,
        port: int | None = None,
        python: Python = OURS,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        plays: bool = False,
        printed: str = "",
    ) -> None:
        """`printed` is what the first start in this home has printed: the secrets are not shown
        again."""
        if "--demo" in options and not plays:
            options += ("--no-play",)  # simulated players would change what tests count
        self.home, self.port, self.printed = home, port or free_port(), printed
        self.address = f"http://127.0.0.1:{self.port}"
        self.notes = Path(tempfile.mkdtemp(prefix="ilara-serve-"))
        given = {"ILARA_HOME": str(home)} if folder is None else {}
        with self._file("out").open("w") as out, self._file("err").open("w") as err:
            self.process = python.start(
                "manage.py", "serve", "--port", str(self.port), *options,
                folder=folder or settings.BASE_DIR,
                env={**given, **(env or {})},
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_in_a_terminal,
            )  # fmt: skip

    def _file(self, name: str) -> Path:
        return self.notes / name

    @property
    def out(self) -> str:
        return self._file("out").read_text()

    @property
    def err(self) -> str:
        return self._file("err").read_text()

    @property
    def data(self) -> Path:
        return (self.home / "postgresql").resolve() / "data"

    def ready(self, seconds: float = HANG_SECONDS) -> "Serve":
        """Wait until it reports that it runs and how to stop it."""
        wait_until(lambda: self.ended() or "  stop " in self.out, seconds)
        assert not self.ended(), self.err
        return self

    def ended(self) -> bool:
        return self.process.poll() is not None

    def failed(self) -> str:
        """Wait for its end and return its single line on stderr."""
        code = self.process.wait(HANG_SECONDS)
        assert code not in (0, None), self.out
        assert "Traceback" not in self.out + self.err
        (line,) = self.err.splitlines()
        return line

    def says(self, label: str) -> str:
        """The text after a label, first of the first start."""
        return after_label(label, self.printed + self.out)

    def api(self, kind: str = "live public") -> HttpApi:
        return HttpApi(self.address, self.says(kind))

    def get(self, path: str) -> tuple[int, str]:
        session = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(session):
            session.request("GET", path)
            response = session.getresponse()
            return response.status, response.read().decode()

    # --- Stopping -------------------------------------------------------------------------------

    def processes(self, *, with_postgresql: bool = True) -> set[int]:
        """The process, its descendants, and PostgreSQL with its backends."""
        heads = [self.process.pid]
        if with_postgresql:
            with suppress(FileNotFoundError, ValueError):
                heads.append(int((self.data / "postmaster.pid").read_text().partition("\n")[0]))
        return families(*heads)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it by a signal. No process may be left, and none may have been killed."""
        before = self.processes()
        self.signal(number)
        assert self.process.wait(HANG_SECONDS) == 0, self.err
        assert not (self.data / "postmaster.pid").exists(), "PostgreSQL is left"
        # PostgreSQL removes the file a moment before it exits.
        wait_until(lambda: not alive(before))
        assert "was killed" not in self.out

    def signal(self, number: int) -> None:
        """Send a signal; SIGINT goes to the process group, like Ctrl-C in a terminal."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def kill_all(self, *, with_postgresql: bool = True) -> None:
        """Kill all processes at once, as a power cut would."""
        before = self.processes(with_postgresql=with_postgresql)
        for pid in before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not alive(before))

    def clean_up(self) -> None:
        """Clean up after a test, even if it failed."""
        if not self.ended():
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        if not self.ended():
            self.kill_all()
        shutil.rmtree(self.notes)


def killed_and_started_again(serve: Serve) -> Serve:
    """Kill and restart the web server, its workers and the job worker; PostgreSQL keeps running."""
    serve.kill_all(with_postgresql=False)
    return Serve(serve.home, "--workers", "2", port=serve.port).ready()


def query(home: Path, sql: LiteralString) -> list[tuple[Any, ...]]:
    socket = str(home / "postgresql" / "socket")
    with psycopg.connect(host=socket, user="ilara", dbname="ilara") as session:
        return session.execute(sql).fetchall()


def bash(command: str, env: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """The output of a shell command."""
    run = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", command],
        cwd=folder or settings.BASE_DIR,
        env={**clean_environment(), **(env or {})},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def pasted(command: str) -> Any:
    return json.loads(bash(command))
