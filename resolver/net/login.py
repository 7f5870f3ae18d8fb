"""The login that Hugging Face's own tools have on this machine (``hf auth login``).

Only what they wrote down is read. ``huggingface_hub.get_token`` may also ask servers (an OIDC exchange, a
refresh of an OAuth token), with a client and in a moment of its own; what it asks is nothing that our
policy, proxies and offline state had a say in, and it raises where such an exchange fails.

Sources: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables (``HF_HOME``,
``HF_TOKEN_PATH``), and huggingface_hub 2.4, ``utils/_auth.py``: ``HUGGING_FACE_HUB_TOKEN``, and
``stored_tokens``, an INI file beside the token with ``hf_token`` and, for the tokens of a browser login,
``expires_at``.
"""

from __future__ import annotations

import configparser
import logging
import os
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

_SECONDS = 10.0
"""For which what was read counts without another look."""
_PATIENCE = 2.0
"""Seconds; a home directory somewhere in the network may hang."""


class LoggedIn:
    """What the token file says, read in a thread, so that whoever asks for the token never waits."""

    def __init__(self) -> None:
        self._found: tuple[str | None, float | None] = None, None
        self._looked = float("-inf")
        self._looking: threading.Thread | None = None

    def token(self) -> str | None:
        """The token as it was at the last look; where that was a while ago, the next one begins.

        A token past its time is none: the Hub refuses public files, too, to whoever sends it one.
        """
        if time.monotonic() - self._looked > _SECONDS:
            self._begin()
        token, expires = self._found
        return None if expires is not None and expires <= time.time() else token

    def look(self) -> None:
        """Read what is there now. Blocks, for a few seconds at most, and raises nothing."""
        if self._looking is not None:
            self._looking.join(_PATIENCE)
        self._begin().join(_PATIENCE)

    def _begin(self) -> threading.Thread:
        """The look that is under way, else a new one: a file that hangs takes one thread, not many."""
        looking = self._looking
        if looking is None or not looking.is_alive():
            self._looked = time.monotonic()
            looking = threading.Thread(target=self._look, name="hf-login", daemon=True)
            looking.start()
            self._looking = looking
        return looking

    def _look(self) -> None:
        token, expires = _read()
        if (token, expires) != self._found and expires is not None and expires <= time.time():
            log.warning("The login of Hugging Face's tools has run out. Log in again: hf auth login")
        self._found = token, expires


def _read() -> tuple[str | None, float | None]:
    """The token, and the time (seconds since the epoch) until which it is good, if that is known."""
    token = _cleaned(os.environ.get("HUGGING_FACE_HUB_TOKEN", ""))
    if token is not None:
        return token, None
    try:
        # Of the package only where things are: this imports nothing else of it.
        from huggingface_hub.constants import HF_TOKEN_PATH
    except ImportError:
        return None, None
    path = Path(HF_TOKEN_PATH)
    try:
        token = _cleaned(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        log.warning("The login of Hugging Face's tools cannot be read: %s", type(error).__name__)
        return None, None
    return token, _expires(path.with_name("stored_tokens"), token) if token else None


def _cleaned(text: str) -> str | None:
    """``text`` as it can stand in a header, else None."""
    token = text.strip()
    return token if token and token.isascii() and token.isprintable() and " " not in token else None


def _expires(path: Path, token: str) -> float | None:
    stored = configparser.ConfigParser(interpolation=None)
    try:
        stored.read(path, encoding="utf-8")
    except (OSError, ValueError, configparser.Error):
        return None
    for name in stored.sections():
        if stored.get(name, "hf_token", fallback=None) == token:
            try:
                return stored.getfloat(name, "expires_at", fallback=None)
            except ValueError:
                return None
    return None
