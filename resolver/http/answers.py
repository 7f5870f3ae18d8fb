"""Answers: what the services hold -> the contract's objects -> JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from aiohttp import web
from pydantic import BaseModel

from .. import __version__, schemas
from ..app import Resolver
from ..errors import ResolverError
from ..host.roots import folder_spec, is_below, is_writable, writable_roots
from ..settings import CHANGEABLE, Settings, environment_name, is_secret

_MAX_FILES = 1000


async def json_answer(make: Callable[[], BaseModel], status: int = 200) -> web.Response:
    """Make and write the answer in a thread."""
    body = await asyncio.to_thread(lambda: make().model_dump_json().encode())
    return web.Response(status=status, body=body, content_type="application/json")


def error_answer(error: ResolverError) -> web.Response:
    body = json.dumps({"error": error.as_json()}).encode()
    return web.Response(status=error.status, body=body, content_type="application/json")


def describe_health(resolver: Resolver) -> schemas.Health:
    active, queued = resolver.downloads.counts()
    return schemas.Health(
        status="ok",
        timestamp=time.time(),
        uptime=resolver.uptime(),
        version=__version__,
        host=resolver.host.name,
        metrics=schemas.HealthMetrics(
            cpu_percent=psutil.cpu_percent(interval=None),
            memory_percent=psutil.virtual_memory().percent,
            active_downloads=active,
            queued_downloads=queued,
            free_bytes=_free_bytes(resolver.host.root),
        ),
    )


def describe_folders(resolver: Resolver) -> schemas.FoldersAnswer:
    answer = []
    for spec in resolver.folders():
        writable = writable_roots(resolver.host, spec)
        default = writable[0] if writable else None
        roots = [
            schemas.Root(
                path=str(root),
                writable=is_writable(root) and not is_below(root, resolver.host.no_write()),
                free_bytes=_free_bytes(root),
                default=root == default,
            )
            for root in spec.roots
        ]
        answer.append(
            schemas.Folder(
                name=spec.name,
                roots=roots,
                extensions=sorted(spec.extensions),
                default_root=str(default) if default else None,
            )
        )
    return schemas.FoldersAnswer(folders=answer)


def describe_library(resolver: Resolver, folder: str | None, query: str) -> schemas.LibraryAnswer:
    files = resolver.files(folder_spec(resolver.host, folder).name if folder else None, query)
    return schemas.LibraryAnswer(files=resolver.shown(files[:_MAX_FILES]), total=len(files))


def describe_settings(resolver: Resolver) -> schemas.SettingsAnswer:
    answer = []
    for field, info in Settings.model_fields.items():
        value = getattr(resolver.settings, field)
        shown = str(value) if isinstance(value, Path) else value
        answer.append(
            schemas.SettingValue(
                name=environment_name(field),
                value=None if is_secret(field) else shown,
                set=value is not None,
                source=resolver.setting_origins.get(field, "default"),
                changeable=field in CHANGEABLE,
                description=info.description or "",
            )
        )
    return schemas.SettingsAnswer(settings=answer)


def _free_bytes(path: Path) -> int | None:
    """Free space of the disk that ``path`` is on, or would be on once made."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
