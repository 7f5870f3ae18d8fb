"""Who asks, and which models this caller is shown at all."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..accounts import CivitaiAccount
from ..options import HubOptions
from .catalog import PG, PG13, XXX, CivitaiModel, R, X

_PUBLIC = PG
_HARMLESS = PG | PG13
_ALL = PG | PG13 | R | X | XXX


class Access:
    def __init__(self, options: HubOptions) -> None:
        self._options = options

    def account(self, request: web.Request) -> CivitaiAccount | None:
        """The caller's account; a key that is not known makes an anonymous caller, not an error.

        By header or ``?token=``: https://developer.civitai.com/site/guide/authentication.
        """
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = request.query.get("token", "")
        return self._options.civitai_accounts.get(key)

    def shows(self, model: CivitaiModel) -> bool:
        """Whether the model exists for this caller; a restricted region silently lacks some.

        https://developer.civitai.com/site/reference/ (region gating).
        """
        return model.published and bool(model.nsfw_level & self._allowed(nsfw=True))

    def lists(self, model: CivitaiModel, *, nsfw: bool) -> bool:
        """Whether a listing that asks for ``nsfw`` models, or does not, has it."""
        return model.published and bool(model.nsfw_level & self._allowed(nsfw=nsfw))

    def _allowed(self, *, nsfw: bool) -> int:
        if self._options.restricted_region:
            return _HARMLESS
        return _ALL if nsfw else _PUBLIC

    def agents(self) -> Middleware:
        """A middleware: what guards the site answers 403 to the names that scripts have by default.

        https://github.com/vast-ai/base-image/pull/215.
        """

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            agent = request.headers.get("User-Agent", "").lower()
            if not agent or agent.startswith(tuple(self._options.refused_agents)):
                page = "<!doctype html><title>Attention Required!</title>"
                return web.Response(status=403, text=page, content_type="text/html")
            return await handler(request)

        return guard
