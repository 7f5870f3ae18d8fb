"""Hugging Face: files by name, through the Hub's own HTTP API.

Source: https://huggingface.co/docs/hub/api. ``GET /api/models`` searches the ids of repositories only,
never file names; but with ``expand[]=siblings`` each repository comes with the names of its files. So
for a wanted name everything that known publishers have is looked through (one question each, remembered
for a day), and the repositories whose ids the name's own words find. What has the name is then asked for
size and SHA-256 (``POST …/paths-info``), which are public for gated repositories as well.

The Hub is asked through this program's own client, not through huggingface_hub's: that one offers no
time limit for these questions, no conditional requests, and no say in where its connections go.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..errors import DownloadError
from ..names import basename, same_file_name
from ..net.api import ApiAnswer, request_json
from ..net.client import HttpClient
from ..roles import compare, parse_roles
from ..settings import HUGGING_FACE
from ..workflow.references import has_model_extension
from . import Context, Offer, Wanted, normalise_url
from .asking import Answered, Asker, Budget
from .publishers import PUBLISHERS, publisher_rank
from .queries import search_queries

_FIELDS = ("siblings", "sha", "gated", "private", "disabled", "downloads", "tags")
_MOST_PAGES = 5  # of one publisher, 1,000 repositories each
_SEARCHED = 30  # repositories a search
_MOST_REPOSITORIES = 8  # whose files are asked for
_MOST_SIMILAR = 4
_FORMAT = 2  # of what is remembered
_FILE = re.compile(r"https://(?:huggingface\.co|hf\.co)/([^/?]+/[^/?]+)/resolve/([^/?]+)/([^?]+)")


@dataclass(frozen=True)
class Repository:
    """``commit``: the head of its main branch. ``gated``: that its terms must be accepted first.

    ``licence``: as its model card has it: ``apache-2.0``.
    """

    id: str
    commit: str
    gated: bool
    downloads: int
    licence: str | None
    files: tuple[str, ...] = field(compare=False)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]


class HuggingFaceSource:
    """Files of equal name, or of the same model by another name, in public and the user's repositories."""

    name = "huggingface"
    online = True

    def __init__(self, client: HttpClient, asker: Asker, endpoint: str) -> None:
        self._client = client
        self._asker = asker
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        del context
        linked, repositories = await asyncio.gather(
            self._linked(wanted, budget), self._repositories(wanted.name, budget)
        )
        exact = [(r, path) for r in repositories for path in r.files if same_file_name(path, wanted.name)]
        chosen = _likeliest(exact)[:_MOST_REPOSITORIES] or _similar(wanted, repositories)
        paths: dict[Repository, list[str]] = {}
        for repository, path in chosen:
            paths.setdefault(repository, []).append(path)
        answers = await _gathered(self._offers(r, files, budget) for r, files in paths.items())
        return [*linked, *(offer for answer in answers for offer in answer)]

    async def _linked(self, wanted: Wanted, budget: Budget) -> list[Offer]:
        """What is at the workflow's own link: of a gated file only the API tells strangers the hash."""
        url = normalise_url(wanted.url or "")
        match = _FILE.fullmatch(url or "")
        if url is None or match is None:
            return []
        repo, revision, path = (unquote(part) for part in match.groups())
        asked = f"{self._endpoint}/api/models/{quote(repo)}/paths-info/{quote(revision, safe='')}"
        try:
            answer = await self._ask(asked, budget, _entries, {"paths": [path], "expand": False})
        except DownloadError:
            return []  # whoever asks the link itself is told why
        return [
            Offer(
                source="huggingface",
                url=url,
                filename=basename(path),
                sha256=entry["sha256"],
                size=entry["size"],
                evidence=frozenset({"embedded_url"}),
                page_url=f"{HUGGING_FACE}/{repo}",
                publisher=repo.partition("/")[0],
            )
            for entry in answer
            if entry["path"] == path
        ]

    async def _repositories(self, name: str, budget: Budget) -> list[Repository]:
        """Those of known publishers, and those that a search by the words of ``name`` finds."""
        questions = [
            self._listing({"author": publisher}, 1000, _MOST_PAGES, budget) for publisher in PUBLISHERS
        ]
        questions += [
            self._listing({"search": query, "sort": "downloads"}, _SEARCHED, 1, budget)
            for query in search_queries(name)
        ]
        answers = await _gathered(questions)
        return list({repository.id: repository for answer in answers for repository in answer}.values())

    async def _listing(
        self, asked: dict[str, str], limit: int, pages: int, budget: Budget
    ) -> list[Repository]:
        fields = [("expand[]", field) for field in _FIELDS]
        query = urlencode([*asked.items(), ("limit", limit), *fields])
        url: str | None = f"{self._endpoint}/api/models?{query}"
        found: list[Repository] = []
        for _ in range(pages):
            if url is None:
                break
            page = await self._ask(url, budget, _page)
            if page is None:
                break
            found += [
                Repository(known[0], known[1], known[2], known[3], known[4], tuple(known[5]))
                for known in page["repositories"]
            ]
            # A next page elsewhere would be asked with the login, if the policy let it. Mirrors that pass
            # answers through name the site itself, for which the client asks the mirror.
            following = str(page["next"])
            url = following if following.startswith((f"{self._endpoint}/", f"{HUGGING_FACE}/")) else None
        return found

    async def _offers(self, repository: Repository, paths: list[str], budget: Budget) -> list[Offer]:
        url = f"{self._endpoint}/api/models/{quote(repository.id)}/paths-info/{repository.commit}"
        answer = await self._ask(url, budget, _entries, {"paths": sorted(paths), "expand": False})
        return [self._offer(repository, entry) for entry in answer if entry["path"] in paths]

    @staticmethod
    def _offer(repository: Repository, entry: dict[str, Any]) -> Offer:
        path = entry["path"]
        return Offer(
            source="huggingface",
            # Of this commit: what was looked at is what comes.
            url=f"{HUGGING_FACE}/{quote(repository.id)}/resolve/{repository.commit}/{quote(path)}",
            filename=basename(path),
            sha256=entry["sha256"],
            size=entry["size"],
            page_url=f"{HUGGING_FACE}/{repository.id}",
            gated=repository.gated,
            publisher=repository.owner,
            downloads=repository.downloads,
            licence=repository.licence,
            checked=entry["size"] is not None and entry["sha256"] is not None,
        )

    async def _ask(
        self, url: str, budget: Budget, read: Callable[[ApiAnswer], Any], body: dict[str, Any] | None = None
    ) -> Any:
        """What ``read`` takes from the answer; only that is remembered."""

        async def send(etag: str | None) -> Answered:
            said = await request_json(self._client, url, etag=etag, body=body)
            return Answered(None if said.unchanged else read(said), said.etag, said.unchanged)

        account = self._client.account("huggingface")
        question = f"huggingface {_FORMAT} {account} {url}" + (f" {json.dumps(body)}" if body else "")
        return await self._asker.ask(self._host, question, send, budget)


def _page(said: ApiAnswer) -> dict[str, Any] | None:
    """The usable repositories of a page, as the fields of ``Repository``; disabled ones give no files."""
    entries = said.value if isinstance(said.value, list) else []
    if not entries:
        return None
    return {"repositories": list(filter(None, map(_repository, entries))), "next": said.next_url}


def _repository(entry: Any) -> list[Any] | None:
    if not isinstance(entry, dict) or entry.get("disabled"):
        return None
    name, commit, siblings = entry.get("id"), entry.get("sha"), entry.get("siblings")
    if not (isinstance(name, str) and isinstance(commit, str) and isinstance(siblings, list)):
        return None
    downloads = entry.get("downloads")
    files = [file.get("rfilename") for file in siblings if isinstance(file, dict)]
    return [
        name,
        commit,
        bool(entry.get("gated")),
        downloads if isinstance(downloads, int) else 0,
        _licence(entry.get("tags")),
        [path for path in files if isinstance(path, str) and has_model_extension(path)],
    ]


def _licence(tags: Any) -> str | None:
    """From the tags that the Hub makes of a model card: ``license:apache-2.0``."""
    found = (tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return next((tag.removeprefix("license:") for tag in found if tag.startswith("license:")), None)


def _entries(said: ApiAnswer) -> list[dict[str, Any]]:
    """The files of a paths-info answer: ``path``, ``size`` and, for what is stored as LFS, ``sha256``."""
    found = []
    for entry in said.value if isinstance(said.value, list) else ():
        if isinstance(entry, dict) and entry.get("type") == "file" and isinstance(entry.get("path"), str):
            stored = entry.get("lfs")
            lfs: dict[str, Any] = stored if isinstance(stored, dict) else {}
            size, sha256 = lfs.get("size", entry.get("size")), lfs.get("oid")
            found.append(
                {
                    "path": entry["path"],
                    "size": size if isinstance(size, int) else None,
                    "sha256": sha256.lower() if isinstance(sha256, str) and len(sha256) == 64 else None,
                }
            )
    return found


def _likeliest(found: Iterable[tuple[Repository, str]]) -> list[tuple[Repository, str]]:
    return sorted(found, key=lambda pair: (publisher_rank(pair[0].owner), -pair[0].downloads, pair[0].id))


def _similar(wanted: Wanted, repositories: Iterable[Repository]) -> list[tuple[Repository, str]]:
    """Files that are the same model by their names, under another spelling or at another precision."""
    roles = parse_roles(wanted.name, wanted.folder)
    found = [
        (repository, path)
        for repository in repositories
        for path in repository.files
        if compare(roles, parse_roles(basename(path), wanted.folder)).kind != "different"
    ]
    return _likeliest(found)[:_MOST_SIMILAR]


async def _gathered(questions: Iterable[Any]) -> list[Any]:
    """The answers that came. Raises the first error only if none did: part of the Hub is better than none."""
    answers = await asyncio.gather(*questions, return_exceptions=True)
    good = [answer for answer in answers if not isinstance(answer, BaseException)]
    for answer in answers:
        if isinstance(answer, BaseException) and (not good or not isinstance(answer, DownloadError)):
            raise answer
    return good
