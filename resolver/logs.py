"""Log lines of the command line and the standalone server; inside ComfyUI, ComfyUI's own set-up counts."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

_PACKAGE = __name__.rpartition(".")[0]
_about: ContextVar[tuple[str | None, str | None]] = ContextVar("about", default=(None, None))


@contextmanager
def log_context(*, download: str | None = None, model: str | None = None) -> Iterator[None]:
    """What is logged while entered, in threads and tasks begun there too, tells what it is about.

    ``download``: its id; ``model``: ``folder/name``.
    """
    token = _about.set((download, model))
    try:
        yield
    finally:
        _about.reset(token)


def where(error: BaseException) -> str:
    """Where in the code ``error`` was raised; without its own text, which may quote a URL with a token."""
    return "".join(traceback.format_tb(error.__traceback__))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, and where
    there is one ``exception``, ``download`` (its id) and ``model`` (``folder/name``)."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        download, model = _about.get()
        if download is not None:
            line["download"] = download
        if model is not None:
            line["model"] = model
        return json.dumps(line, ensure_ascii=False)


def configure_logging(settings: Settings) -> None:
    """Write logs to standard error as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # Every request of every client library is not what INFO is for.
    for name in ("aiohttp", "asyncio", "filelock", "urllib3"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


def set_level(level: str) -> None:
    """Log our own lines from that level on, whoever has set up logging."""
    logging.getLogger(_PACKAGE).setLevel(level)
