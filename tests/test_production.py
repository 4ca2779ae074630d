"""The README's production section, run as printed against a fresh PostgreSQL and behind nginx, both
Debian's; and the other files of ilara_admin/deploy."""

import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener

import pytest
from django.conf import settings

from tests.api_client import EVENTS, FLAGS, PLAYERS, HttpApi
from tests.external_postgres import running_server, server_programs
from tests.homes import HANG_SECONDS, wait_until
from tests.processes import alive, output_of, program
from tests.running import clean_environment, free_port
from tests.test_readme import README, read_by_the_code

DEPLOY = settings.BASE_DIR / "ilara_admin/deploy"
HOST = "localhost"
CERTIFICATE = f"letsencrypt/live/{HOST}/fullchain.pem"
ORDINARY_PORTS = {"postgresql": 5432, "gunicorn": 18000, "http": 80, "https": 443}


# --- The machine of the README --------------------------------------------------------------------

# Stand-ins for the programs that change a machine. All others are the real ones.
STAND_INS = {
    # Everything runs as this user. PostgreSQL's superuser may come without a password.
    "sudo": """
        while [[ $1 == -* ]]; do [[ $1 == -u ]] && shift; shift; done
        exec "$@"
    """,
    "apt-get": "",  # .ci/run installs the packages
    "useradd": "",
    "certbot": """
        folder=$ETC/letsencrypt/live/$ILARA_HOST
        mkdir -p "$folder"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -subj "/CN=$ILARA_HOST" -addext "subjectAltName=DNS:$ILARA_HOST" \
            -keyout "$folder/privkey.pem" -out "$folder/fullchain.pem" 2>/dev/null
    """,
    "nginx": 'exec "$REAL_NGINX" -e "$ETC/nginx/error.log" -c "$ETC/nginx/nginx.conf" "$@"',
    # It reads the units, but not their user.
    "systemctl": """
        value() { sed -n "s/^$1=//p" "$ETC/systemd/system/$unit.service"; }
        case "$1 $2" in
        "daemon-reload "*) ;;
        "reload nginx") nginx >"$ETC/nginx.log" 2>&1 ;;
        "enable --now")
            for unit in "${@:3}"; do
                (
                    set -a; . "$(value EnvironmentFile)"; set +a
                    cd "$(value WorkingDirectory)"
                    exec $(value ExecStart)
                ) </dev/null >"$ETC/$unit.log" 2>&1 &
                echo $! >"$ETC/$unit.pid"
                if [[ $(value Type) == notify ]]; then
                    curl --silent --output /dev/null --retry 99 --retry-delay 1 \
                        --retry-connrefused "http://$ILARA_BIND/healthz"
                fi
            done ;;
        *) exit 1 ;;
        esac
    """,
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder in place of /etc and /opt, and ports in place of the ordinary ones."""

    folder: Path
    ports: Mapping[str, int]

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    def run(self, script: str, **environ: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=clean_environment() | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        logs = [path.read_text() for path in self.etc.glob("*.log")]
        assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
        return done.stdout

    def stop(self) -> None:
        """End what the commands have started."""
        heads = [int(file.read_text()) for file in self.etc.glob("**/*.pid")]
        for pid in heads:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(heads))

    def paths_and_ports(self, text: str, *, of_nginx: bool = False) -> str:
        """The text with this machine's paths, and in nginx's configuration its ports."""
        text = text.replace("/opt/ilara", f"{self.folder}/opt/ilara")
        text = re.sub(r"(?<![\w.$}])/etc/(?=nginx/conf|systemd|letsencrypt)", f"{self.etc}/", text)
        if of_nginx:
            text = re.sub(r".*listen \[::\].*\n", "", text)
            for name in ("http", "https"):
                ordinary = f"listen {ORDINARY_PORTS[name]}"
                assert ordinary in text
                text = text.replace(ordinary, f"listen 127.0.0.1:{self.ports[name]}")
            text = text.replace("127.0.0.1:18000", f"127.0.0.1:{self.ports['gunicorn']}")
        return text


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="ilara-machine-"))
    folder.chmod(0o755)  # nginx's processes must enter it
    machine = Machine(folder, {name: free_port() for name in ORDINARY_PORTS})
    for name in ("etc/nginx/conf.d", "etc/systemd/system", "opt", "bin", "postgresql"):
        (folder / name).mkdir(parents=True)
    for name, script in STAND_INS.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\nset -e\n{script}\n")
        path.chmod(0o755)
    try:
        place, port = folder / "postgresql", machine.ports["postgresql"]
        with running_server(server_programs()[-1], place, port):
            try:
                yield machine
            finally:
                machine.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- The commands of the README -------------------------------------------------------------------


def commands(heading: str, until: str) -> str:
    section = README.partition(f"\n{heading}\n")[2].partition(f"\n{until}")[0]
    blocks = re.findall(r"^```\n(.*?)\n```", section, re.MULTILINE | re.DOTALL)
    assert blocks
    return "\n".join(blocks)


def here(script: str, machine: Machine) -> str:
    """The commands with the paths and ports of this machine, and without downloads."""
    changes = {
        "ILARA_HOST=ilara.example.com": f"ILARA_HOST={HOST}",
        "<this repository>": str(prepared_repository(machine)),
        "sudo python3 -m venv /opt/ilara/.venv": f"ln -s {sys.prefix} /opt/ilara/.venv",
        "sudo /opt/ilara/.venv/bin/pip install --quiet --editable /opt/ilara": "",
        "--group ilara ": "",
        "@127.0.0.1/ilara": f"@127.0.0.1:{machine.ports['postgresql']}/ilara",
        "https://$ILARA_HOST": f"https://$ILARA_HOST:{machine.ports['https']}",
    }
    for printed, changed in changes.items():
        assert printed in script
        script = script.replace(printed, changed)
    return machine.paths_and_ports(script)


def prepared_repository(machine: Machine) -> Path:
    """A clone whose examples have the paths and ports of this machine."""
    if not (settings.BASE_DIR / ".git").exists():
        pytest.skip("this checkout is not a git repository, so there is nothing to clone")
    folder = machine.folder / "repository"
    output_of(["git", "clone", "--quiet", str(settings.BASE_DIR), str(folder)], machine.folder)
    for path in (folder / "ilara_admin/deploy").iterdir():
        text = path.read_text()
        path.write_text(machine.paths_and_ports(text, of_nginx=path.name == "nginx.conf"))
    someone = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    output_of(["git", *someone, "commit", "--quiet", "--all", "--message", "Adapt"], folder)
    return folder


def debian_nginx(machine: Machine) -> None:
    """Debian's nginx.conf, with the folders of this machine and no server but ours."""
    text = Path("/etc/nginx/nginx.conf").read_text()
    folder = machine.etc / "nginx"
    for printed, changed in {
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "/var/log/nginx/": f"{folder}/",
        "/etc/nginx/conf.d/": f"{folder}/conf.d/",
        "include /etc/nginx/sites-enabled/*;": "",
    }.items():
        assert printed in text
        text = text.replace(printed, changed)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{ {temporary}", 1))


class Website:
    """The dashboard for one person. Redirects are followed."""

    def __init__(self, address: str, tls: ssl.SSLContext) -> None:
        self.address = address
        self.opener = build_opener(HTTPSHandler(context=tls), HTTPCookieProcessor())

    def open(self, path: str, form: Mapping[str, str | list[str]] | None = None) -> tuple[str, str]:
        """The path and the text of the page, or of the page that follows the form."""
        data = urlencode(form, doseq=True).encode() if form else None
        request = Request(self.address + path, data, {"Origin": self.address})
        with self.opener.open(request, timeout=60) as reply:
            return reply.url.removeprefix(self.address), reply.read().decode()

    def submit(self, path: str, **fields: str | list[str]) -> tuple[str, str]:
        _, page = self.open(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        return self.open(path, {"csrfmiddlewaretoken": token[1], **fields})


@pytest.mark.slow
@pytest.mark.skipif(bool(settings.DATABASE_URL), reason="it starts an external PostgreSQL itself")
def test_production_section__works_as_printed(machine: Machine) -> None:
    nginx = program("nginx", "nginx")
    program("openssl", "openssl")
    debian_nginx(machine)
    output = machine.run(
        here(commands("## In production", "### "), machine),
        ETC=str(machine.etc),
        REAL_NGINX=nginx,
        ILARA_BIND=f"127.0.0.1:{machine.ports['gunicorn']}",
        CURL_CA_BUNDLE=str(machine.etc / CERTIFICATE),
        PGHOST=str(machine.folder / "postgresql"),
        PGPORT=str(machine.ports["postgresql"]),
        PGUSER="postgres",
        PATH=f"{machine.folder}/bin:{server_programs()[-1]}:{os.environ['PATH']}",
    )
    assert '{"database": true, ' in output.splitlines()[-1]
    settings_file = machine.folder / "opt/ilara/.env"
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o640

    # Sign in with the printed password, create a project, issue a key, evaluate with it.
    tls = ssl.create_default_context(cafile=machine.etc / CERTIFICATE)
    host = f"{HOST}:{machine.ports['https']}"
    site = Website(f"https://{host}", tls)
    found = re.search(r"^  sign in +admin / (\S+)$", output, re.MULTILINE)
    assert found
    where, _ = site.submit("/sign-in/", username="admin", password=found[1])
    assert where == "/my-game/live/"
    new = {"name": "Second", "slug": "second", "tier": "pro"}
    where, _ = site.submit("/my-game/live/settings/projects/new/", **new)
    assert where == "/second/live/keys/"
    scopes = ["track", "evaluate", "stream"]
    _, page = site.submit("/second/live/keys/new/", name="Server", kind="secret", scopes=scopes)
    (key,) = set(re.findall(r"sk_live_\w{36}", page))
    api = HttpApi(host, key, tls)
    player = {"player_id": api.register(attributes={"level": 45})["id"]}
    decision = api.post(f"{FLAGS}/new_tutorial/evaluate", player).data
    assert (decision["value"], decision["reason"]) == (True, "segment_match")

    # A stream is not buffered: its events arrive while it is open.
    with closing(api.session()) as session:
        session.request("GET", f"{EVENTS}/stream", headers={"X-API-Key": key})
        with session.getresponse() as stream:
            api.post(EVENTS, player | {"event_name": "level_complete"})
            lines = iter(stream.readline, b"")
            assert b"level_complete" in next(line for line in lines if line.startswith(b"data: "))

    # What the proxy answers itself, and what it passes on.
    for path in ("/metrics", "//metrics", "/metrics/", "/%6detrics", "/x/../metrics?a"):
        reply = api.get(path)
        assert (reply.status, b"<center>nginx" in reply.body) == (404, True), path
    assert api.get("/sign-in/").headers["Strict-Transport-Security"] == "max-age=31536000"
    plain = HttpApi(f"127.0.0.1:{machine.ports['http']}", None)
    assert plain.get("/second/?a", host=HOST).headers["Location"] == f"https://{HOST}/second/?a"
    assert api.post(PLAYERS, b" " * 1_500_000).error["message"] == "The body is larger than 1 MiB"


# --- The other files ------------------------------------------------------------------------------


@pytest.mark.slow
def test_caddyfile__is_valid(tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if not caddy:
        pytest.skip("Caddy is not installed")
    folders = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "ILARA_HOST": HOST}
    command = [caddy, "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    assert "Valid configuration" in output_of(command, tmp_path, **folders)


@pytest.mark.slow
def test_units__are_valid(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd is not installed")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    units = []
    for unit in DEPLOY.glob("*.service"):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/opt/ilara", str(tmp_path)))
        units.append(str(copy))
    assert len(units) == 2
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    # Missing man pages and messages about other units of the machine do not matter.
    ours = [line for line in done.stderr.splitlines() if "ilara-" in line]
    assert ours == []


def test_containers__set_existing_settings() -> None:
    texts = [(DEPLOY / name).read_text() for name in ("compose.yaml", "Containerfile")]
    given = set(re.findall(r"\b(ILARA_\w+|DATABASE_URL|SECRET_KEY|ALLOWED_HOSTS)[:=]", str(texts)))
    for_caddy = {"ILARA_HOST", "ILARA_UPSTREAM"}
    assert given - for_caddy <= read_by_the_code()
    assert for_caddy <= given
    assert all(f"{{${name}:" in (DEPLOY / "Caddyfile").read_text() for name in for_caddy)


def test_examples__agree_on_the_streams() -> None:
    for name in ("nginx.conf", "Caddyfile"):
        assert f"{EVENTS}/stream" in (DEPLOY / name).read_text()
