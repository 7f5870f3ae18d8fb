"""Where answers of servers are remembered: in the store, or in a Redis that several machines share.

What is older than a month is forgotten. A cache that fails costs time, never an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
import time
from collections import OrderedDict
from typing import Any, Protocol

from ..errors import SettingsError
from ..settings import Settings
from ..store import Store
from .asking import DAY, Cache, NoCache, Remembered

log = logging.getLogger(__name__)

_FORGOTTEN = 30 * DAY
_AT_HAND = 256  # answers kept decoded
_PREFIX = "comfyui-model-resolver:answer:"


class ClosableCache(Cache, Protocol):
    async def close(self) -> None: ...


def open_cache(settings: Settings, store: Store) -> ClosableCache:
    """The cache that the settings ask for. Raises ``SettingsError`` where Redis is asked for but unusable."""
    if not settings.enable_cache:
        return _Nothing()
    if settings.redis_url is not None:
        return RedisCache(settings.redis_url.get_secret_value())
    return StoreCache(store)


class _Nothing(NoCache):
    async def close(self) -> None:
        return None


class StoreCache:
    """In the table ``answers`` of the store; the latest also in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at_hand: OrderedDict[str, Remembered] = OrderedDict()
        self._swept = False

    async def get(self, question: str) -> Remembered | None:
        known = self._at_hand.get(question)
        if known is None:
            try:
                known = await asyncio.to_thread(self._read, _key(question))
            except sqlite3.Error as error:
                log.warning("Remembered answers cannot be read: %s", error)
        if known is not None:
            self._keep_at_hand(question, known)
        return known

    async def put(self, question: str, answer: Remembered) -> None:
        self._keep_at_hand(question, answer)
        try:
            await asyncio.to_thread(self._write, _key(question), answer)
        except sqlite3.Error as error:
            log.warning("An answer cannot be remembered: %s", error)

    async def close(self) -> None:
        self._at_hand.clear()

    def _keep_at_hand(self, question: str, answer: Remembered) -> None:
        self._at_hand[question] = answer
        self._at_hand.move_to_end(question)
        if len(self._at_hand) > _AT_HAND:
            self._at_hand.popitem(last=False)

    def _read(self, key: str) -> Remembered | None:
        rows = self._store.query("SELECT answer FROM answers WHERE question = ?", (key,))
        return _decoded(rows[0]["answer"]) if rows else None

    def _write(self, key: str, answer: Remembered) -> None:
        now = time.time()
        text = _encoded(answer)
        with self._store.transaction() as connection:
            if not self._swept:
                self._swept = True
                connection.execute("DELETE FROM answers WHERE written_at < ?", (now - _FORGOTTEN,))
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, now))


class RedisCache:
    """In a Redis server (https://redis.io/docs/latest/commands/set), under names of our own.

    ``url``: ``redis://``, ``rediss://`` or ``unix://``; it may hold a password and is never shown.
    """

    def __init__(self, url: str) -> None:
        try:
            from redis import asyncio as redis
        except ImportError:
            raise SettingsError(
                "CMR_REDIS_URL is set, but the package redis is not installed. Install the extra [redis], "
                "or unset it.",
                code="REDIS_MISSING",
            ) from None
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0)
        except ValueError:
            raise SettingsError(
                "CMR_REDIS_URL is not a Redis URL (redis://host:port/0).", code="SETTING_INVALID"
            ) from None
        self._complained = False

    async def get(self, question: str) -> Remembered | None:
        try:
            text = await self._redis.get(_PREFIX + _key(question))
        except Exception as error:  # whatever its client raises, the answer is only not remembered
            self._complain(error)
            return None
        return None if text is None else await asyncio.to_thread(_decoded, text)

    async def put(self, question: str, answer: Remembered) -> None:
        try:
            await self._redis.set(_PREFIX + _key(question), _encoded(answer), ex=int(_FORGOTTEN))
        except Exception as error:
            self._complain(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("Redis (CMR_REDIS_URL) cannot be used: %s", type(error).__name__)


def _key(question: str) -> str:
    """Questions are long, and tell what somebody looks for."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()


def _encoded(answer: Remembered) -> str:
    return json.dumps({"value": answer.value, "etag": answer.etag, "fresh_until": answer.fresh_until})


def _decoded(text: str | bytes) -> Remembered | None:
    """The answer; ``None`` for what another program, or another version of this one, left there."""
    try:
        known = json.loads(text)
        return Remembered(known["value"], known["etag"], float(known["fresh_until"]))
    except (ValueError, KeyError, TypeError):
        return None
