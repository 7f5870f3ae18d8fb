"""Is everything as it must be for models to arrive? One finding a thing looked at, each with what to do.

Nothing is changed, and nothing here needs the network: without it, that is what is said.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import ssl
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from . import __version__, schemas
from .app import Resolver
from .credentials import check
from .download.space import device_of, nearest_existing
from .errors import DownloadError, ResolverError
from .host import NOT_MODEL_FOLDERS
from .host.roots import is_writable, writable_roots
from .net.urls import Provider, redact
from .settings import Settings, environment_name, is_secret

Finding = schemas.Finding

_SECONDS = 10.0
_GIB = 1 << 30
_NETWORK = frozenset({"NETWORK", "TIMEOUT"})
_PACKAGES = ("aiohttp", "huggingface-hub", "pydantic", "pydantic-settings", "psutil", "filelock", "yarl")


def examine(resolver: Resolver) -> Iterator[Finding]:
    """All findings, in the order of what depends on what. Blocks; the engine must run."""
    yield from _versions(resolver)
    yield from _settings(resolver)
    yield from _store(resolver)
    yield from _roots(resolver)
    yield from _space(resolver)
    yield from _network(resolver)
    yield from _parts(resolver)


def _versions(resolver: Resolver) -> Iterator[Finding]:
    python = f"Python {platform.python_version()} at {sys.executable}"
    yield _ok("version", f"Model Resolver {__version__}, {python}")
    known = []
    for name in _PACKAGES:
        try:
            known.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield _problem("packages", f"{name} is not installed.", "Run install.py with this very Python.")
    yield _ok("packages", ", ".join(known))
    root = resolver.host.root
    version = _comfyui_version(root)
    if version is not None:
        yield _ok("comfyui", f"ComfyUI {version} at {root}")
    elif (root / "main.py").is_file():
        yield _ok("comfyui", f"ComfyUI of unknown version at {root}")
    elif (root / "models").is_dir():
        yield _ok("comfyui", f"A models folder without ComfyUI at {root}")
    else:
        yield _problem(
            "comfyui",
            f"{root} does not look like ComfyUI's folder: it has no models/.",
            "Name it with --comfyui-root or CMR_COMFYUI_ROOT.",
        )


def _comfyui_version(root: Path) -> str | None:
    """As ``comfyui_version.py`` in its folder says; the file is read, not run."""
    try:
        text = (root / "comfyui_version.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "__version__":
            return value.strip().strip("\"'") or None
    return None


def _settings(resolver: Resolver) -> Iterator[Finding]:
    """Those that are not at their defaults, and where each comes from; never a secret."""
    for field in Settings.model_fields:
        origin = resolver.setting_origins.get(field)
        if origin is None:
            continue
        value = getattr(resolver.settings, field)
        if is_secret(field):
            shown = _shown_secret(field, value)
        elif isinstance(value, tuple):
            shown = ", ".join(value)
        else:
            shown = redact(value) if field.endswith("_endpoint") else str(value)
        yield _ok("settings", f"{environment_name(field)} = {shown} (from {origin})")


def _shown_secret(field: str, value: object) -> str:
    if field.endswith("_proxy") and isinstance(value, str):
        return redact(value)
    return "set" if value is not None else "not set"


def _store(resolver: Resolver) -> Iterator[Finding]:
    path = resolver.store.path
    try:
        (row,) = resolver.store.query("PRAGMA quick_check(1)")
        found = str(row[0])
    except (sqlite3.Error, ResolverError) as error:
        found = str(error)
    if found == "ok":
        yield _ok("store", f"{path} is sound")
    else:
        advice = "Stop the program and move the file away; a new one is begun."
        yield _problem("store", f"{path} is damaged: {found}", advice)
    asides = sorted(other.name for other in path.parent.glob(f"{path.name}.*") if _is_aside(path, other))
    if asides:
        text = f"Stores were set aside in {path.parent}: {', '.join(asides)}"
        yield _warning("store", text, "Remove them if you miss nothing.")
    if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077:
        yield _warning("store", f"{path} can be read by other users.", f"chmod 600 {path}")


def _is_aside(path: Path, other: Path) -> bool:
    ending = other.name.removeprefix(path.name)
    return ending not in (".lock",) and not ending.startswith("-")


def _roots(resolver: Resolver) -> Iterator[Finding]:
    absent, refused, good = [], 0, 0
    for spec in resolver.folders():
        if spec.name in NOT_MODEL_FOLDERS:
            continue
        if not writable_roots(resolver.host, spec):
            refused += 1
            places = ", ".join(map(str, spec.roots)) or "it has no directory"
            advice = "Check the permissions of its directories, or add one to extra_model_paths.yaml."
            yield _problem("roots", f"Nothing can be written to the folder {spec.name}: {places}", advice)
            continue
        good += 1
        for root in spec.roots:
            if not root.exists():
                absent.append(root)
            elif not root.is_dir():
                yield _problem("roots", f"{root} is not a directory.", "Move it away.")
            elif not is_writable(root):
                text = f"{root} cannot be written to; another directory of {spec.name} is used."
                yield _warning("roots", text, "Check its permissions, if files should go there.")
    # Below models/ they are made when needed; elsewhere a disk may not be plugged in.
    outside = [root for root in absent if resolver.host.root not in root.parents]
    for root in dict.fromkeys(outside):
        yield _warning("roots", f"{root} does not exist.", "Is its disk mounted? See extra_model_paths.yaml.")
    if good:
        yield _ok("roots", f"{good} model folders can be written to")


def _space(resolver: Resolver) -> Iterator[Finding]:
    disks: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for spec in resolver.folders():
        writable = [] if spec.name in NOT_MODEL_FOLDERS else writable_roots(resolver.host, spec)
        for root in writable[:1]:
            disks[device_of(root)].append((spec.name, root))
    reserve = int(resolver.settings.disk_reserve)
    for places in disks.values():
        where = nearest_existing(places[0][1])
        names = ", ".join(sorted(name for name, _ in places)[:4])
        more = f" and {len(places) - 4} more" if len(places) > 4 else ""
        try:
            free = shutil.disk_usage(where).free
        except OSError as error:
            text = f"The free space of {where} is unknown: {error.strerror or error}"
            yield _warning("space", text, "Check the disk.")
            continue
        text = f"{free / _GIB:.1f} GiB free at {where} (one disk for {names}{more})"
        if free <= reserve:
            need = f"less than the {reserve / _GIB:.1f} GiB that downloads leave free"
            yield _problem("space", f"{text}: {need}", "Free some space, or lower CMR_DISK_RESERVE.")
        elif free - reserve < 10 * _GIB:
            yield _warning("space", f"{text}: a large model may not fit", "Free some space.")
        else:
            yield _ok("space", text)


def _network(resolver: Resolver) -> Iterator[Finding]:
    settings = resolver.settings
    for field in ("http_proxy", "https_proxy"):
        proxy = getattr(settings, field)
        if proxy:
            yield _ok("network", f"{environment_name(field)}: {redact(proxy)}")
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle and not Path(bundle).is_file():
        text = f"SSL_CERT_FILE names {bundle}, which is not a file."
        yield _problem("network", text, "Name a file of certificates, or unset it.")
    else:
        trusted = bundle or ssl.get_default_verify_paths().cafile or "the system's certificates"
        yield _ok("network", f"{ssl.OPENSSL_VERSION}, trusting {trusted}")
    endpoints = {"huggingface": settings.hf_endpoint, "civitai": settings.civitai_endpoint}
    reachable = {}
    for provider, endpoint in endpoints.items():
        error = resolver.engine.submit(_reach(resolver, endpoint)).result()
        reachable[provider] = error
        shown = redact(endpoint)
        if error is None:
            yield _ok("network", f"{shown} answers")
        elif error.code in _NETWORK:
            advice = "Offline, what is on this machine still works. Check the connection or the proxy."
            yield _warning("network", f"{shown} cannot be reached: {error.message}", advice)
        else:
            yield _problem("network", f"{shown}: {error.message} [{error.code}]", _advice(error.code))
    for name in get_args(Provider):
        yield from _credential(resolver, name, reachable[name] is None)


async def _reach(resolver: Resolver, endpoint: str) -> ResolverError | None:
    """Why a server cannot be spoken to; whatever it answers, it is there."""

    async def ask() -> None:
        async with resolver.client.open(f"{endpoint}/", method="HEAD"):
            pass

    try:
        await asyncio.wait_for(ask(), _SECONDS)
    except asyncio.TimeoutError:
        return DownloadError(f"No answer within {_SECONDS:.0f} seconds.", code="NETWORK")
    except ResolverError as error:
        return error
    return None


def _advice(code: str) -> str:
    return {
        "TLS_FAILED": "Set SSL_CERT_FILE, if your network inspects traffic.",
        "URL_HOST_NOT_ALLOWED": "List the host in CMR_ALLOWED_HOSTS, if you trust it.",
        "URL_SCHEME": "Use https, or list the host in CMR_ALLOWED_HOSTS.",
    }.get(code, "Check the endpoint's setting.")


def _credential(resolver: Resolver, provider: Provider, reachable: bool) -> Iterator[Finding]:
    state = resolver.credentials.state(provider)
    if not state.set:
        yield _ok("tokens", f"{provider}: no token is set; only files that need a login ask for one")
        return
    if not reachable:
        advice = "Try again when its server can be reached."
        yield _warning("tokens", f"{provider}: a token is set and could not be checked", advice)
        return
    work = check(resolver.credentials, resolver.client, provider, None)
    found = resolver.engine.submit(work).result()
    if found.code is None:
        yield _ok("tokens", f"{provider}: the token of {found.account} (from {state.origin})")
    elif found.code in _NETWORK:
        yield _warning("tokens", f"{provider}: the token could not be checked", "Try again later.")
    else:
        advice = f"Set a new one: credentials set {provider}"
        yield _problem("tokens", f"{provider}: {found.message} [{found.code}]", advice)


def _parts(resolver: Resolver) -> Iterator[Finding]:
    parts = resolver.engine.submit(resolver.downloads.orphans()).result()
    for part in parts:
        text = f"{part.path} ({part.size / _GIB:.1f} GiB) is left of a download that nobody goes on with"
        yield _warning("parts", text, "Download it again to go on with it, or remove it.")
    if not parts:
        yield _ok("parts", "Nothing is left of unfinished downloads")


def _ok(area: str, message: str) -> Finding:
    return Finding(area=area, level="ok", message=message)


def _warning(area: str, message: str, advice: str) -> Finding:
    return Finding(area=area, level="warning", message=message, advice=advice)


def _problem(area: str, message: str, advice: str) -> Finding:
    return Finding(area=area, level="problem", message=message, advice=advice)
