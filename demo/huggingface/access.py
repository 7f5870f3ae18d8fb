"""Who asks, which repository that names, and what of it this account may have."""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import quote

from aiohttp import web

from ..accounts import HuggingFaceAccount
from ..options import HubOptions
from ..world import HubRepo, World
from .refusal import Moved, Refusal


class Access:
    """The rules, over a world. All methods raise ``Refusal``."""

    def __init__(self, world: World, options: HubOptions) -> None:
        self._world = world
        self._options = options

    def account(self, request: web.Request) -> HuggingFaceAccount | None:
        """The caller's account, None for an anonymous one; a bad token is refused for public files too.

        https://github.com/huggingface/huggingface_hub/pull/2847.
        """
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        account = self._options.huggingface_account(token) if scheme.lower() == "bearer" else None
        if account is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return account

    def repo(self, request: web.Request, account: HuggingFaceAccount | None) -> HubRepo:
        """The path's repository. An anonymous caller is not told whether it is missing or private.

        Raises ``Moved`` for a former name, or one in the wrong case:
        https://huggingface.co/docs/hub/repositories-settings#renaming-or-transferring-a-repo.
        """
        wanted = request.match_info["repo"]
        repo = self._world.repos.get(wanted)
        if repo is not None and self.sees(account, repo):
            return repo
        current = self._world.current_id(wanted) if repo is None else None
        if current is not None and self.sees(account, self._world.repos[current]):
            raise Moved(_renamed(request, wanted, current))
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        raise Refusal(404, "Repository not found", "RepoNotFound")

    def sees(self, account: HuggingFaceAccount | None, repo: HubRepo) -> bool:
        """Whether the account may know that the repository exists."""
        return not repo.private or (account is not None and account.owns(repo.owner))

    def check_enabled(self, repo: HubRepo) -> None:
        """A disabled repository gives out nothing but its own description.

        https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.errors.DisabledRepoError.
        """
        if repo.disabled:
            raise Refusal(403, "Access to this resource is disabled.")

    def check_revision(self, repo: HubRepo, revision: str) -> None:
        if not repo.has_revision(revision):
            raise Refusal(404, f"Invalid rev id: {quote(revision)}", "RevisionNotFound")

    def check_files(self, repo: HubRepo, account: HuggingFaceAccount | None) -> None:
        """Whether the account may have the repository's files: https://huggingface.co/docs/hub/models-gated."""
        self.check_enabled(repo)
        if repo.gated is None:
            return
        if account is None:
            _gated(401, repo, "You must have access to it and be authenticated to access it. Please log in.")
        if account.owns(repo.owner):
            return
        if account.role == "fineGrained" and not account.reads_gated:
            # Without a code: clients take it for any other 403.
            raise Refusal(
                403,
                "Please enable access to public gated repositories in your fine-grained token settings "
                "to view this repository.",
            )
        if account.gated == "pending":
            _gated(403, repo, "Your request to access it is awaiting a review from its authors.")
        if account.gated == "refused":
            _gated(403, repo, "Your request to access it has been rejected by its authors.")
        if account.gated == "none":
            ask = f"Visit https://huggingface.co/{repo.id} to ask for access."
            _gated(403, repo, f"You are not in the authorized list. {ask}")


def _gated(status: int, repo: HubRepo, why: str) -> NoReturn:
    raise Refusal(status, f"Access to model {repo.id} is restricted. {why}", "GatedRepo")


def _renamed(request: web.Request, wanted: str, current: str) -> str:
    """The request's path and query with the repository's current id."""
    path = request.rel_url.raw_path
    prefix = "/api/models/" if path.startswith("/api/models/") else "/"
    rest = path.removeprefix(prefix).split("/")[wanted.count("/") + 1 :]
    query = request.rel_url.raw_query_string
    return prefix + "/".join([quote(current), *rest]) + (f"?{query}" if query else "")
