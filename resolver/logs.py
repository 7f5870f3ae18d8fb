"""Log lines of the command line and the standalone server; inside ComfyUI, ComfyUI's own set-up counts."""

from __future__ import annotations

import json
import logging
import sys

from .settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``timestamp`` (Unix seconds), level, logger, message and exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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
