"""Access tokens that the user gave this program, and what they are good for.

They lie in one file beside the store: readable by its owner only, in a directory that ComfyUI does not
serve. Nothing here returns a token but ``Credentials.token``, which the HTTP client asks before each request
to the host that it belongs to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args

from . import schemas
from .errors import BadInput, DownloadError, ResolverError
from .net.api import request_json
from .net.client import HttpClient, credentials_from
from .net.login import LoggedIn
from .net.probe import probe
from .net.urls import Provider, page_url
from .replacing import replace_text
from .settings import Settings

log = logging.getLogger(__name__)

Origin = Literal["stored", "settings"]
_TOKEN = re.compile(r"[!-~]{1,4096}")
_GATED = "canReadGatedRepos"
_TOKEN_PAGES = {
    "huggingface": "https://huggingface.co/settings/tokens",
    "civitai": "https://civitai.com/user/account",
}


def parse_provider(name: str) -> Provider:
    """Raises ``BadInput`` (404 ``PROVIDER_UNKNOWN``) for any other name than the two."""
    if name not in get_args(Provider):
        raise BadInput(
            f"There is no provider {name!r}; there are {' and '.join(get_args(Provider))}.",
            code="PROVIDER_UNKNOWN",
            status=404,
        )
    return cast(Provider, name)


class Credentials:
    """The stored tokens, before those of the settings. Only ``token`` never blocks; all are thread-safe."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._login = LoggedIn()
        self._settings: Callable[[Provider], str | None] = credentials_from(settings, self._login)
        self._lock = threading.Lock()
        self._stored = _read(path)

    def token(self, provider: Provider) -> str | None:
        """The token to send: what the user gave last counts, else what the settings say."""
        return self._stored.get(provider) or self._settings(provider)

    def look(self) -> None:
        """Have a login of Hugging Face's tools that was made a moment ago count as well."""
        self._login.look()

    def state(self, provider: Provider) -> schemas.Credential:
        """Whether there is one, never which."""
        self.look()
        if provider in self._stored:
            return schemas.Credential(provider=provider, set=True, origin="stored")
        if self._settings(provider):
            return schemas.Credential(provider=provider, set=True, origin="settings")
        return schemas.Credential(provider=provider, set=False, origin=None)

    def put(self, provider: Provider, token: str) -> schemas.Credential:
        """Store a token in place of any other.

        Raises ``BadInput`` (``TOKEN_INVALID``), ``ResolverError`` (``CREDENTIALS_NOT_STORED``).
        """
        token = token.strip().removeprefix("Bearer ").strip()
        # It goes into a header: what cannot stand there is a slip of the clipboard.
        if not _TOKEN.fullmatch(token):
            raise BadInput("This cannot be a token. Copy it whole, and nothing else.", code="TOKEN_INVALID")
        with self._lock:
            self._write({**self._stored, provider: token})
        return self.state(provider)

    def delete(self, provider: Provider) -> schemas.Credential:
        """Forget the stored token, if there is one; one of the settings stays. Raises ``ResolverError``."""
        with self._lock:
            if provider in self._stored:
                self._write({name: token for name, token in self._stored.items() if name != provider})
        return self.state(provider)

    def _write(self, tokens: dict[str, str]) -> None:
        try:
            replace_text(self._path, json.dumps(tokens), mode=0o600)
        except OSError as error:
            raise ResolverError(
                f"The token cannot be stored at {self._path}: {error.strerror}.",
                code="CREDENTIALS_NOT_STORED",
            ) from None
        self._stored = tokens


async def check(
    credentials: Credentials, client: HttpClient, provider: Provider, url: str | None
) -> schemas.CredentialCheck:
    """Ask the provider whose token it is; with ``url`` also whether that file is to be had with it.

    ``code``: None if all is well, else ``TOKEN_MISSING``, or as in ``net.faults``.
    """
    await asyncio.to_thread(credentials.look)
    found = schemas.CredentialCheck(provider=provider, set=credentials.token(provider) is not None)
    try:
        if found.set:
            found.account, found.scopes = await _account(client, provider)
        if url is not None:
            await probe(client, url)
        elif not found.set:
            raise DownloadError("No token is set.", code="TOKEN_MISSING")
    except ResolverError as error:
        found.code, found.message = error.code, error.message
        # The Hub answers such a token 403, with the reason in words only.
        denied = error.code in ("GATED", "UNAUTHORIZED")
        if denied and "fineGrained" in found.scopes and _GATED not in found.scopes:
            found.code = "TOKEN_LACKS_SCOPE"
            found.message = (
                "This token may not read gated repositories. Allow it that on the page of your tokens, or "
                "make one of the kind 'read'."
            )
            found.page_url = _TOKEN_PAGES[provider]
            return found
        # Licences are accepted at the site itself, whatever mirror the file comes from.
        found.page_url = (page_url(url) if url else None) or _TOKEN_PAGES[provider]
    return found


async def _account(client: HttpClient, provider: Provider) -> tuple[str | None, list[str]]:
    """Name of the account and what the token may do, in the provider's words.

    Sources: https://huggingface.co/docs/hub/api (``whoami-v2``), and
    https://developer.civitai.com/site/reference/users (``me``).
    """
    if provider == "huggingface":
        answer = (await request_json(client, "https://huggingface.co/api/whoami-v2")).value
        token = _dict(_dict(_dict(answer).get("auth")).get("accessToken"))
        scopes = [str(token["role"])] if isinstance(token.get("role"), str) else []
        for scope in _list(_dict(token.get("fineGrained")).get("scoped")):
            scopes += [str(permission) for permission in _list(_dict(scope).get("permissions"))]
        if _dict(token.get("fineGrained")).get(_GATED):
            scopes.append(_GATED)
        name = _dict(answer).get("name")
    else:
        answer = (await request_json(client, "https://civitai.com/api/v1/me")).value
        scopes, name = [], _dict(answer).get("username")
    if not isinstance(name, str):
        raise DownloadError("The answer names no account.", code="API_ANSWER")
    return name, list(dict.fromkeys(scopes))


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: token for name, token in content.items() if isinstance(token, str)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        log.warning("The stored tokens cannot be read and are left out: %s", type(error).__name__)
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
