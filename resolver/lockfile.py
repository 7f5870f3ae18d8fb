"""``models.lock.json``: what workflows need, so that another machine gets the very same files.

The format, of version 1::

    {"version": 1,
     "workflows": ["portrait.json"],
     "models": [{"folder": "loras", "name": "style/a.safetensors", "size": 1234, "sha256": "…",
                 "urls": ["https://…"], "licence": "apache-2.0"}]}

One content has one spelling (sorted, indented by two, one line end at the end, nothing of the time or
the machine), so that a lock that changed nothing is the same file, and a diff shows what changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from .errors import BadInput, UnsafeName
from .host import NOT_MODEL_FOLDERS, canonical_folder
from .names import parse_model_name
from .net.urls import redact
from .schemas import Schema, Sha256

VERSION = 1
FILE_NAME = "models.lock.json"
_MAX_BYTES = 64 << 20

Url = Annotated[str, Field(min_length=1, max_length=8192)]


class LockedModel(Schema):
    """One file. ``size`` in bytes; ``urls`` of this very content, best first, none with a secret in it;
    ``licence``: its short name as the provider has it; null where it is not known.

    Without ``sha256`` or ``urls`` (``lock --partial``) it is only known to be needed, and never fetched.
    """

    folder: str
    name: str
    size: Annotated[int, Field(ge=0)] | None
    sha256: Sha256 | None
    urls: list[Url]
    licence: Annotated[str, Field(min_length=1, max_length=256)] | None

    @property
    def id(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def is_whole(self) -> bool:
        """Whether it can be fetched and verified."""
        return self.sha256 is not None and bool(self.urls)

    @field_validator("folder")
    @classmethod
    def _folder(cls, value: str) -> str:
        return parse_folder(value)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return parse_model_name(value)
        except UnsafeName as error:
            raise ValueError(error.message) from None

    @field_validator("urls")
    @classmethod
    def _without_secrets(cls, value: list[str]) -> list[str]:
        if any(redact(url) != url for url in value):
            raise ValueError("a URL has a token, a login, a signature or a fragment in it")
        return value


class LockFile(Schema):
    """``workflows``: the file names of those that need the models."""

    version: int = VERSION
    workflows: list[str]
    models: list[LockedModel]

    @field_validator("models")
    @classmethod
    def _each_once(cls, value: list[LockedModel]) -> list[LockedModel]:
        seen: set[str] = set()
        for model in value:
            if model.id in seen:
                raise ValueError(f"{model.id} is there twice")
            seen.add(model.id)
        return value


def parse_folder(value: str) -> str:
    """A folder's name as ComfyUI has it now. Raises ``ValueError`` for one in which no model belongs."""
    try:
        name = canonical_folder(parse_model_name(value))
    except UnsafeName as error:
        raise ValueError(error.message) from None
    if "/" in name or name.lower() in NOT_MODEL_FOLDERS:
        raise ValueError(f"{value!r} is not a model folder")
    return name


def encode_lock(lock: LockFile) -> bytes:
    """The one spelling of ``lock``."""
    content = {
        "version": lock.version,
        "workflows": sorted(set(lock.workflows)),
        "models": [model.model_dump() for model in sorted(lock.models, key=lambda model: model.id)],
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def decode_lock(data: bytes, origin: str) -> LockFile:
    """The lock in ``data``, whatever its spelling; ``origin`` is how messages call it.

    Raises ``BadInput``: ``LOCK_INVALID``, or ``LOCK_VERSION`` for one that a newer program wrote.
    """

    def invalid(what: str, **details: Any) -> BadInput:
        return BadInput(f"{origin} is not a lock file: {what}.", code="LOCK_INVALID", **details)

    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise invalid("it is not JSON") from None
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, bool) or not isinstance(version, int):
        raise invalid("it has no version")
    if version != VERSION:
        raise BadInput(
            f"{origin} is a lock file of version {version}, and this program knows version {VERSION}. "
            "Update the program, or lock again with this one.",
            code="LOCK_VERSION",
            version=version,
        )
    try:
        return LockFile.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise invalid(f"{where}: {problem['msg'].removeprefix('Value error, ')}", field=where) from None


def read_lock(path: Path) -> LockFile:
    """The lock at ``path``. Blocks. Raises as ``decode_lock``, and ``BadInput`` (``FILE_UNREADABLE``)."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}", code="FILE_UNREADABLE") from None
    if len(data) > _MAX_BYTES:
        raise BadInput(f"{path} is not a lock file: it is too large.", code="LOCK_INVALID")
    return decode_lock(data, str(path))
