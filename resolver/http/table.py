"""The routes, as data: method, path below ``/model-resolver``, and the handler's name in ``handlers.py``."""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "/model-resolver"


class Route(NamedTuple):
    method: str
    path: str
    handler: str


ROUTES = (
    Route("GET", "/health", "health"),
    Route("GET", "/metrics", "metrics"),
    Route("POST", "/analyze", "analyze"),
    Route("POST", "/resolve", "resolve"),
    Route("POST", "/embed", "embed"),
    Route("POST", "/export", "export"),
    Route("POST", "/prompt", "prompt"),
    Route("POST", "/downloads", "create_downloads"),
    Route("GET", "/downloads", "list_downloads"),
    # The routes for all come before those with an id, which would match them too.
    Route("POST", "/downloads/pause", "pause_all"),
    Route("POST", "/downloads/resume", "resume_all"),
    Route("POST", "/downloads/cancel", "cancel_all"),
    Route("POST", "/downloads/retry", "retry_all"),
    Route("GET", "/downloads/{id}", "get_download"),
    Route("DELETE", "/downloads/{id}", "remove_download"),
    Route("PATCH", "/downloads/{id}", "prioritise_download"),
    Route("POST", "/downloads/{id}/pause", "pause_download"),
    Route("POST", "/downloads/{id}/resume", "resume_download"),
    Route("POST", "/downloads/{id}/cancel", "cancel_download"),
    Route("POST", "/downloads/{id}/retry", "retry_download"),
    Route("GET", "/parts", "list_parts"),
    Route("DELETE", "/parts/{id}", "remove_part"),
    Route("GET", "/events", "events"),
    Route("GET", "/folders", "folders"),
    Route("GET", "/library", "library"),
    Route("GET", "/library/hash", "hashing"),
    Route("POST", "/library/hash", "hash_library"),
    Route("GET", "/library/duplicates", "duplicates"),
    Route("GET", "/settings", "settings"),
    Route("PATCH", "/settings", "change_settings"),
    Route("GET", "/credentials", "list_credentials"),
    Route("PUT", "/credentials/{provider}", "put_credential"),
    Route("DELETE", "/credentials/{provider}", "delete_credential"),
    Route("POST", "/credentials/{provider}/check", "check_credential"),
    Route("GET", "/openapi.json", "openapi"),
)
