"""The routes of Hugging Face's host, by name."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from ..conditional import conditional
from ..options import HubOptions
from ..rate_limits import RateLimiter
from ..request_log import Subject
from ..storage import Storage
from ..world import World
from .access import Access
from .files import Files
from .models import Models
from .refusal import Refusal, refusals
from .tree import Tree

_REPO = "{repo:[^/]+/[^/]+}"
_ANY_REPO = "{repo:[^/]+(?:/[^/]+)?}"
"""Former names may be a single word, as models without an owner once were."""


class HuggingFaceApi:
    """Handlers over a world; files themselves come from the storage host, by redirect."""

    def __init__(self, world: World, storage: Storage, options: HubOptions) -> None:
        self._access = Access(world, options)
        self._limiter = RateLimiter(options)
        self._models = Models(world, self._access, options)
        self._tree = Tree(self._access, options)
        self._files = Files(self._access, storage, options)

    def middlewares(self) -> list[Middleware]:
        return [self._limiter.middleware(), conditional, refusals]

    def routes(self) -> list[web.RouteDef]:
        """``web.get`` answers HEAD as well."""
        models = f"/api/models/{_ANY_REPO}"
        path = "{path:.+}"
        cache = f"/api/resolve-cache/models/{_REPO}/{{revision}}/{path}"
        return [
            web.get("/api/whoami-v2", self.whoami, name="huggingface.whoami"),
            web.get("/api/models", self._models.search, name="huggingface.search"),
            web.get(cache, self._files.cached, name="huggingface.cache"),
            web.get(f"{models}/tree/{{revision}}", self._tree.list, name="huggingface.tree"),
            web.get(f"{models}/tree/{{revision}}/{path}", self._tree.list, name="huggingface.subtree"),
            web.post(f"{models}/paths-info/{{revision}}", self._tree.paths_info, name="huggingface.paths"),
            web.get(f"{models}/revision/{{revision}}", self._models.info, name="huggingface.revision"),
            web.get(models, self._models.info, name="huggingface.info"),
            web.get(
                f"/{_ANY_REPO}/resolve/{{revision}}/{path}", self._files.resolve, name="huggingface.resolve"
            ),
        ]

    def subject_of(self, request: web.Request) -> Subject:
        file = request.match_info.get("path") if "/tree/" not in request.path else None
        return Subject(request.match_info.get("repo"), file)

    async def whoami(self, request: web.Request) -> web.Response:
        """``GET /api/whoami-v2``: whose token it is, and what kind.

        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.whoami;
        roles of tokens: https://huggingface.co/docs/hub/security-tokens.
        """
        account = self._access.account(request)
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        token: dict[str, Any] = {
            "displayName": "demo",
            "role": account.role,
            "createdAt": "2025-01-01T00:00:00.000Z",
        }
        if account.role == "fineGrained":
            permissions = ["repo.content.read"] if account.reads_private else []
            entity = {"_id": "0" * 24, "type": "user", "name": account.name}
            token["fineGrained"] = {
                "canReadGatedRepos": account.reads_gated,
                "global": [],
                "scoped": [{"entity": entity, "permissions": permissions}],
            }
        return web.json_response(
            {
                "type": "user",
                "id": "0" * 24,
                "name": account.name,
                "fullname": "Demo User",
                "isPro": False,
                "orgs": [{"type": "org", "name": name} for name in account.organizations],
                "auth": {"type": "access_token", "accessToken": token},
            }
        )
