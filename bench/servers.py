"""Servers on loopback for the downloads: nginx in several manners, a proxy that shapes, a stand-in hub.

``limit_rate`` of nginx counts per *request*: a client that makes many small requests escapes it. The
``Shaper`` in front of nginx counts per *connection*, as a distant server does, and is what the verdict
on a capped server rests on.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

CAP = 20_000_000
"""Bytes a second, of a capped request or connection."""

# Packages of Debian and Ubuntu.
_PROGRAMS = {"nginx": "nginx-light", "aria2c": "aria2", "curl": "curl"}

_CONFIG = """
daemon off;
worker_processes 2;
pid {base}/nginx.pid;
error_log {base}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format bytes '$request_method $uri $status $body_bytes_sent';
    access_log {base}/access.log bytes;
    client_body_temp_path {base}/body; proxy_temp_path {base}/proxy; fastcgi_temp_path {base}/fastcgi;
    uwsgi_temp_path {base}/uwsgi; scgi_temp_path {base}/scgi;
    sendfile on; tcp_nopush on; keepalive_requests 100000;
    default_type application/octet-stream;
    root {files};
    server {{ listen 127.0.0.1:{plain}; }}
    server {{
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {base}/certificate.pem; ssl_certificate_key {base}/key.pem;
        ssl_protocols TLSv1.3; ssl_buffer_size 16k;
    }}
    server {{ listen 127.0.0.1:{capped} sndbuf=256k; limit_rate {cap}; }}
}}
"""


def require_programs(*names: str) -> None:
    """End with the name of the package to install if a program is missing."""
    missing = [_PROGRAMS[name] for name in names if find_program(name) is None]
    if missing:
        raise SystemExit(f"Programs to compare with are missing. Run: apt-get install {' '.join(missing)}")


def find_program(name: str) -> str | None:
    # nginx lies in /usr/sbin, which is not on everybody's path.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Nginx:
    """A running nginx. ``base``: its own directory; ``files``: what it serves."""

    base: Path
    files: Path
    plain: int
    tls: int
    capped: int

    @property
    def certificate(self) -> Path:
        return self.base / "certificate.pem"

    def url(self, name: str, server: str = "plain") -> str:
        """``server``: ``plain``, ``tls`` or ``capped``."""
        scheme = "https" if server == "tls" else "http"
        return f"{scheme}://127.0.0.1:{getattr(self, server)}/{name}"

    def requests(self) -> list[tuple[str, int]]:
        """(method, bytes of the body sent) of every request that ended since ``forget``."""
        lines = (self.base / "access.log").read_text().splitlines()
        return [(line.split()[0], int(line.split()[3])) for line in lines]

    def forget(self) -> None:
        os.truncate(self.base / "access.log", 0)

    def settled(self) -> list[tuple[str, int]]:
        """``requests`` once no more come: nginx logs a broken connection a moment after its client's end."""
        before = self.requests()
        while True:
            time.sleep(0.5)
            now = self.requests()
            if now == before:
                return now
            before = now


@contextmanager
def running_nginx(base: Path, files: Path) -> Iterator[Nginx]:
    program = find_program("nginx")
    assert program is not None, "require_programs comes first"
    base.mkdir()
    nginx = Nginx(base, files, free_port(), free_port(), free_port())
    make_certificate(base / "certificate.pem", base / "key.pem")
    config = base / "nginx.conf"
    ports = {"plain": nginx.plain, "tls": nginx.tls, "capped": nginx.capped}
    text = _CONFIG.format(base=base, files=files, cap=CAP, **ports)
    # As root, nginx would serve as another user, who may not read a private temporary directory.
    config.write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
    process = subprocess.Popen([program, "-c", str(config), "-p", str(base)], stderr=subprocess.DEVNULL)
    try:
        for port in ports.values():
            _await_port(port, process, base / "error.log")
        yield nginx
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    reason = log.read_text() if log is not None and log.exists() else f"exit status {process.poll()}"
    raise SystemExit(f"A server for the benchmark does not answer on port {port}: {reason}")


def make_certificate(certificate: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@contextmanager
def stand_in_hub(nginx: Nginx, server: str) -> Iterator[str]:
    """As much of Hugging Face as ``hf_hub_download`` asks; the files themselves come from nginx, by redirect.

    Yields the endpoint. Any repository will do. ``demo`` has the faithful imitation, which serves from
    memory and would be what is measured.
    """

    async def resolve(request: web.Request) -> web.Response:
        name = request.match_info["path"]
        size = (nginx.files / name).stat().st_size
        return web.Response(
            status=302,
            headers={
                "Location": nginx.url(name, server),
                "X-Repo-Commit": "0" * 40,
                "X-Linked-Size": str(size),
                "X-Linked-Etag": f'"{name}"',
                "ETag": f'"{name}"',
            },
        )

    app = web.Application()
    app.router.add_get("/{owner}/{repo}/resolve/{revision}/{path:.+}", resolve)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(app, access_log=None)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def running_shaper(port: int, *, rate: int | None = None, delay: float = 0.0) -> Iterator[int]:
    """A ``Shaper`` in a process of its own before ``port``; yields its port. See ``bench.shaper``."""
    listening = free_port()
    arguments = [str(listening), str(port), str(rate or 0), str(delay)]
    process = subprocess.Popen([sys.executable, "-m", "bench.shaper", *arguments])
    try:
        _await_port(listening, process)
        yield listening
    finally:
        process.terminate()
        process.wait(10)
