"""Wanted models -> *Resolutions*: all sources asked at once, their offers checked and ranked."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from . import schemas
from .errors import DownloadError, ResolverError, UrlRefused
from .logs import where
from .names import same_file_name
from .net.urls import redact
from .sources import Contents, Context, Offer, Source, Wanted, civitai_version, normalise_url, url_file_name
from .sources.asking import Budget
from .sources.publishers import is_known_publisher
from .sources.ranking import CHOSEN, Ranked, rank
from .sources.workflow import with_stated_hashes
from .workflow.references import has_model_extension

log = logging.getLogger(__name__)

_AT_ONCE = 8  # models resolved at the same time
_MAX_PROBES = 6  # URLs asked about for one model, the likeliest first
_MAX_HEADERS = 3  # files of which the header is read for one model
_MAX_MIRRORED = 3  # contents of one model that more places are looked for
_MIRROR_SECONDS = 10.0
_SOURCE_SECONDS = 30.0
_HUNG_SECONDS = 1.0  # for a source that has just been given up: it may have come round
_HUNG_MEMORY = 60.0  # seconds
_PROBE_SECONDS = 30.0  # a download may wait longer for its next byte
_KEEP_SECONDS = 600.0
_KEEP_FAILURE_SECONDS = 30.0

_NEEDS = {"GATED": "licence", "UNAUTHORIZED": "token", "TOKEN_REJECTED": "token"}
_GONE = frozenset({"NOT_FOUND", "NOT_FOUND_OR_PRIVATE", "NOT_A_MODEL"})
_COMMIT = re.compile(r"/resolve/[0-9a-f]{40}/")
_PAGES = ("text/html", "application/xhtml+xml")


class RemoteFile(Protocol):
    """What a server says of a file without sending it (``resolver.net.probe.RemoteFile``)."""

    @property
    def size(self) -> int | None: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def content_type(self) -> str | None: ...

    @property
    def filename(self) -> str | None: ...

    @property
    def url(self) -> str: ...


Probe = Callable[[str], Awaitable[RemoteFile]]
Inspect = Callable[[str, str | None, Budget], Awaitable[Contents | None]]
"""What is in the file at a URL, whose SHA-256 may be known; None if that cannot be told."""
Mirror = Callable[[str, str, int, Budget], Awaitable[str | None]]
"""Another URL that serves what a URL serves, whose SHA-256 and size are known; None if there is none."""
Allowed = Callable[[str], object]
"""Raises ``UrlRefused`` for a URL that is never fetched."""


@dataclass(frozen=True)
class _Answer:
    """What is known of a URL: a file, or why not. ``name``: what the server calls it, if it does."""

    size: int | None = None
    sha256: str | None = None
    name: str | None = None
    error: DownloadError | None = None


@dataclass
class _Heard:
    """What came of asking for one model. ``unreachable``: URLs whose servers gave no answer at all.

    ``answered``: whether any server did.
    """

    errors: list[schemas.SourceError] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)
    answered: bool = False

    def add(self, source: str, code: str, message: str) -> None:
        """One file that several sources know of fails once."""
        if not any((error.code, error.message) == (code, message) for error in self.errors):
            self.errors.append(schemas.SourceError(source=source, code=code, message=message))


class ResolutionService:
    """Asks ``sources`` for models. All methods run on the engine's loop."""

    def __init__(
        self,
        sources: Sequence[Source],
        probe: Probe,
        allowed: Allowed,
        *,
        inspect: Inspect | None = None,
        mirror: Mirror | None = None,
        account: Callable[[], str] = lambda: "",
    ) -> None:
        """``inspect`` looks into doubtful files, ``mirror`` knows another place of a content. ``account``
        tells logins apart: what a server answers depends on who asks.
        """
        self.sources = tuple(sources)
        self._probe = probe
        self._allowed = allowed
        self._inspect = inspect
        self._mirror = mirror
        self._account = account
        self._answers: dict[tuple[str, str], tuple[float, _Answer]] = {}
        # Until when a source that gave no answer is not waited for again.
        self._hung_until: dict[str, float] = {}

    async def resolve(
        self,
        wanted: Iterable[Wanted],
        context: Context,
        *,
        only: Collection[str] | None = None,
        online: bool = True,
    ) -> AsyncIterator[schemas.Resolution]:
        """One ``Resolution`` a model, each as soon as it is found.

        ``only``: names of sources to ask (all if None). ``online``: whether servers may be asked, by
        sources, and for size, hash and access of what was found; without, catalogs' words stand alone.
        """
        sources = [
            source
            for source in self.sources
            if (only is None or source.name in only) and (online or not source.online)
        ]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(model: Wanted) -> schemas.Resolution:
            async with limit:
                try:
                    return await self._resolve(model, context, sources, online)
                except Exception as error:
                    # Whatever goes wrong for one model must not cost the others their answers.
                    log.exception("%s could not be resolved", model.id)
                    failed = schemas.SourceError(
                        source="resolver", code="INTERNAL", message=type(error).__name__
                    )
                    return schemas.Resolution(id=model.id, state="not_found", errors=[failed])

        tasks = [asyncio.create_task(one(model)) for model in wanted]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()

    async def _resolve(
        self, wanted: Wanted, context: Context, sources: Sequence[Source], online: bool
    ) -> schemas.Resolution:
        heard = _Heard()
        wanted = with_stated_hashes(wanted, context)
        here = [source for source in sources if not source.online]
        offers = await self._offers(wanted, context, here, heard)
        if online:
            offers = await self._probed(wanted, offers, context, heard)
        ranked = rank(wanted, offers, context)
        asked = [source for source in sources if source.online]
        # What is certain and to be had needs no search, and servers no questions.
        if _is_settled(ranked, heard):
            asked = [source for source in asked if _knows_more(source, ranked.candidates[0])]
        if asked:
            found = await self._offers(wanted, context, asked, heard)
            offers += await self._probed(wanted, found, context, heard)
            offers = _with_heads(offers)
            if any(error.code == "NOT_DOWNLOADABLE" for error in heard.errors):
                offers = [offer for offer in offers if offer.url != normalise_url(wanted.url or "")]
            ranked = rank(wanted, offers, context)
        if online:
            if self._inspect is not None and _is_doubtful(ranked):
                offers = await self._looked_into(self._inspect, ranked, offers)
                ranked = rank(wanted, offers, context)
            if self._mirror is not None:
                offers = await self._mirrored(self._mirror, ranked, offers)
                ranked = rank(wanted, offers, context)
        return schemas.Resolution(
            id=wanted.id,
            state=ranked.state,
            candidates=ranked.candidates,
            errors=_without_repetition(heard) if asked else heard.errors,
        )

    async def _offers(
        self,
        wanted: Wanted,
        context: Context,
        sources: Sequence[Source],
        heard: _Heard,
    ) -> list[Offer]:
        """What the sources offer that may be fetched, or might be if a setting allowed it."""
        answers = await asyncio.gather(*(self._ask(source, wanted, context, heard) for source in sources))
        return [
            checked for answer in answers for offer in answer if (checked := self._checked(offer)) is not None
        ]

    async def _ask(self, source: Source, wanted: Wanted, context: Context, heard: _Heard) -> list[Offer]:
        has_hung = time.monotonic() < self._hung_until.get(source.name, -math.inf)
        seconds = min(_HUNG_SECONDS, _SOURCE_SECONDS) if has_hung else _SOURCE_SECONDS
        try:
            found = await asyncio.wait_for(source.find(wanted, context, Budget()), seconds)
            self._hung_until.pop(source.name, None)
            heard.answered |= source.online
            return found
        except asyncio.TimeoutError:
            if not has_hung:
                self._hung_until[source.name] = time.monotonic() + _HUNG_MEMORY
            code, message = "SOURCE_TIMEOUT", f"It gave no answer within {_SOURCE_SECONDS:.0f} seconds."
            if has_hung:
                message = "It gave no answer a moment ago, and is not waited for again."
        except ResolverError as error:
            code, message = error.code, error.message
        except Exception as error:
            # A source may be anyone's code: what it raises costs its own answer only.
            log.warning("The source %s failed by %s at\n%s", source.name, type(error), where(error))
            code, message = "SOURCE_FAILED", f"An unforeseen {type(error).__name__}. See the log."
        heard.answered |= source.online and code not in ("NETWORK", "SOURCE_TIMEOUT")
        heard.errors.append(schemas.SourceError(source=source.name, code=code, message=message))
        return []

    def _checked(self, offer: Offer) -> Offer | None:
        """The offer; where its host is not allowed, with what to do; ``None`` if it is refused for good.

        Without tokens: people paste theirs into workflows, and what is found is shown to others.
        """
        shown = replace(offer, url=redact(offer.url), mirrors=tuple(map(redact, offer.mirrors)))
        try:
            self._allowed(offer.url)
        except UrlRefused as error:
            return replace(shown, needs="allowed_host") if error.code == "URL_HOST_NOT_ALLOWED" else None
        return shown

    async def _probed(
        self, wanted: Wanted, offers: Sequence[Offer], context: Context, heard: _Heard
    ) -> list[Offer]:
        # What a server has just said of its own files need not be asked again, but for access.
        said = {offer.url for offer in offers if offer.checked and not offer.gated}
        candidates = rank(wanted, offers, context).candidates
        urls = [
            url
            for candidate in candidates
            if candidate.needs != "allowed_host" and not _is_aside(candidate, candidates[0])
            for url in (candidate.url, *candidate.mirrors)
            if url not in said
        ][:_MAX_PROBES]
        answers = dict(zip(urls, await asyncio.gather(*map(self._answer, urls)), strict=True))
        lost = {url for url, answer in answers.items() if answer.error and answer.error.code == "NETWORK"}
        heard.unreachable |= lost
        heard.answered |= len(lost) < len(answers)
        probed: list[Offer] = []
        for offer in offers:
            answer = answers.get(offer.url)
            if answer is None:
                probed.append(offer)
            elif answer.error is None:
                probed.append(
                    replace(
                        offer,
                        filename=_name_after(offer, answer),
                        needs=None,  # whoever asks has what it takes
                        size=answer.size if answer.size is not None else offer.size,
                        # The server's word goes before a catalog's: it is what would be downloaded.
                        sha256=answer.sha256 or offer.sha256,
                    )
                )
            else:
                file = url_file_name(offer.url) or offer.url
                heard.add(offer.source, answer.error.code, f"{file}: {answer.error.message}")
                if answer.error.code not in _GONE:
                    # A source may know better than its server says to strangers: early access.
                    needs = offer.needs or _NEEDS.get(answer.error.code)
                    probed.append(replace(offer, needs=needs, gated=answer.error.code == "GATED"))
        return probed

    @staticmethod
    async def _looked_into(inspect: Inspect, ranked: Ranked, offers: Sequence[Offer]) -> list[Offer]:
        """Where names alone do not decide: what is in the likeliest files, by their tensors."""
        leading = [
            candidate
            for candidate in ranked.candidates
            if candidate.filename.lower().endswith(".safetensors") and candidate.needs is None
        ][:_MAX_HEADERS]
        budget = Budget(requests=2 * len(leading))
        found = await asyncio.gather(*(inspect(c.url, c.sha256, budget) for c in leading))
        known = {
            url: contents
            for candidate, contents in zip(leading, found, strict=True)
            for url in (candidate.url, *candidate.mirrors)
        }
        return [replace(offer, contents=known.get(offer.url, offer.contents)) for offer in offers]

    @staticmethod
    async def _mirrored(mirror: Mirror, ranked: Ranked, offers: Sequence[Offer]) -> list[Offer]:
        """The likeliest contents get another place each, where there is one."""
        leading = [
            candidate
            for candidate in ranked.candidates[:_MAX_MIRRORED]
            if candidate.sha256 is not None and candidate.size is not None
        ]
        places = [(url, c.sha256, c.size) for c in leading for url in (c.url, *c.mirrors)]
        budget = Budget(requests=len(places), seconds=_MIRROR_SECONDS)

        async def ask(url: str, sha256: str | None, size: int | None) -> str | None:
            if not sha256 or not size:
                return None
            try:
                return await asyncio.wait_for(mirror(url, sha256, size, budget), _MIRROR_SECONDS)
            except asyncio.TimeoutError:
                return None  # it is a convenience, not worth an error
            except Exception:
                log.warning("No mirror could be looked for", exc_info=True)
                return None

        found = await asyncio.gather(*(ask(*place) for place in places))
        known = {url: other for (url, _, _), other in zip(places, found, strict=True) if other}
        return [
            replace(offer, mirrors=(*offer.mirrors, known[offer.url])) if offer.url in known else offer
            for offer in offers
        ]

    async def _answer(self, url: str) -> _Answer:
        now = time.monotonic()
        key = (self._account(), url)
        known = self._answers.get(key)
        if known is not None and known[0] > now:
            return known[1]
        try:
            remote = await asyncio.wait_for(self._probe(url), _PROBE_SECONDS)
            answer = _Answer(remote.size, remote.sha256, _server_name(remote))
            if (remote.content_type or "").lower().startswith(_PAGES):
                answer = _Answer(error=DownloadError("This is a page, not a file.", code="NOT_A_MODEL"))
        except asyncio.TimeoutError:
            message = f"The server gave no answer within {_PROBE_SECONDS:.0f} seconds."
            answer = _Answer(error=DownloadError(message, code="NETWORK"))
        except DownloadError as error:
            answer = _Answer(error=error)
        except UrlRefused as error:
            answer = _Answer(error=DownloadError(error.message, code=error.code))
        keep = _KEEP_SECONDS if answer.error is None else _KEEP_FAILURE_SECONDS
        if len(self._answers) > 10_000:
            self._answers.clear()
        self._answers[key] = (now + keep, answer)
        return answer


def _with_heads(offers: Sequence[Offer]) -> list[Offer]:
    """Links to a branch of Hugging Face get what its API said of the branch's head: size and hash.

    Their own server does not tell these to everybody: of gated files only the API does.
    """
    heads = {
        _COMMIT.sub("/resolve/main/", offer.url): offer
        for offer in offers
        if offer.source == "huggingface" and offer.checked
    }
    return [
        replace(offer, sha256=head.sha256, size=head.size)
        if offer.sha256 is None and (head := heads.get(offer.url)) is not None
        else offer
        for offer in offers
    ]


def _server_name(remote: RemoteFile) -> str | None:
    """What the server calls the file, or the place that it sent us on to."""
    return next(filter(has_model_extension, (remote.filename or "", url_file_name(remote.url))), None)


def _name_after(offer: Offer, answer: _Answer) -> str:
    """The name of what came: not that of the URL, where this led to a file of another name."""
    by_url = same_file_name(offer.filename, url_file_name(offer.url))
    return answer.name if by_url and answer.name is not None else offer.filename


def _knows_more(source: Source, candidate: schemas.Candidate) -> bool:
    """Whether the site that has the file says more of it than its server: hash, scans and terms."""
    is_there = civitai_version(candidate.url) is not None
    return source.name == "civitai" and is_there and candidate.sha256 is None


def _is_settled(ranked: Ranked, heard: _Heard) -> bool:
    best = ranked.candidates[0] if ranked.candidates else None
    if best is None or best.confidence != "exact" or best.needs is not None:
        return False
    return best.url not in heard.unreachable


def _is_aside(candidate: schemas.Candidate, best: schemas.Candidate) -> bool:
    """Whether it is well enough known for one that comes after better ones."""
    known = candidate.sha256 is not None and candidate.size is not None
    return known and candidate.confidence == "possible" != best.confidence


def _is_doubtful(ranked: Ranked) -> bool:
    """Whether the best is not certain, and nobody's word and no publisher make it stand out from the others.

    A single find without rivals is doubtful as well if nothing but its name speaks for it.
    """
    best = ranked.candidates[0] if ranked.candidates else None
    if best is None or best.confidence == "exact":
        return False
    named_only = CHOSEN.isdisjoint(best.evidence)
    return ranked.state == "ambiguous" or (named_only and not is_known_publisher(best.publisher))


def _without_repetition(heard: _Heard) -> list[schemas.SourceError]:
    """Being offline is one state, not an error of every server."""
    if heard.answered or not any(error.code == "NETWORK" for error in heard.errors):
        return heard.errors
    offline = schemas.SourceError(
        source="resolver",
        code="OFFLINE",
        message="No server can be reached. Only what is known on this machine is shown.",
    )
    return [offline, *(error for error in heard.errors if error.code != "NETWORK")]
