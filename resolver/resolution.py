"""Wanted models -> *Resolutions*: all sources asked at once, their offers checked and ranked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from . import schemas
from .errors import DownloadError, ResolverError, UrlRefused
from .net.urls import redact
from .sources import Contents, Context, Offer, Source, Wanted, normalise_url, url_file_name
from .sources.asking import Budget
from .sources.publishers import is_known_publisher
from .sources.ranking import CHOSEN, Ranked, rank

log = logging.getLogger(__name__)

_AT_ONCE = 8  # models resolved at the same time
_MAX_PROBES = 6  # URLs asked about for one model, the likeliest first
_MAX_HEADERS = 3  # files of which the header is read for one model
_MAX_MIRRORED = 3  # contents of one model that more places are looked for
_MIRROR_SECONDS = 10.0
_SOURCE_SECONDS = 30.0
_PROBE_SECONDS = 30.0  # a download may wait longer for its next byte
_KEEP_SECONDS = 600.0
_KEEP_FAILURE_SECONDS = 30.0

_NEEDS = {"GATED": "licence", "UNAUTHORIZED": "token", "TOKEN_REJECTED": "token"}
_GONE = frozenset({"NOT_FOUND", "NOT_FOUND_OR_PRIVATE", "NOT_A_MODEL"})
_PAGES = ("text/html", "application/xhtml+xml")


class RemoteFile(Protocol):
    """What a server says of a file without sending it (``resolver.net.probe.RemoteFile``)."""

    @property
    def size(self) -> int | None: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def content_type(self) -> str | None: ...


Probe = Callable[[str], Awaitable[RemoteFile]]
Inspect = Callable[[str, str | None, Budget], Awaitable[Contents | None]]
"""What is in the file at a URL, whose SHA-256 may be known; None if that cannot be told."""
Mirror = Callable[[str, str, int, Budget], Awaitable[str | None]]
"""Another URL that serves what a URL serves, whose SHA-256 and size are known; None if there is none."""
Allowed = Callable[[str], object]
"""Raises ``UrlRefused`` for a URL that is never fetched."""


@dataclass(frozen=True)
class _Answer:
    """What is known of a URL: a file, or why not."""

    size: int | None = None
    sha256: str | None = None
    error: DownloadError | None = None


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
        errors: list[schemas.SourceError] = []
        here = [source for source in sources if not source.online]
        offers = await self._offers(wanted, context, here, errors)
        if online:
            offers = await self._probed(wanted, offers, context, errors)
        ranked = rank(wanted, offers, context)
        away = [source for source in sources if source.online]
        # What is certain and to be had needs no search, and servers no questions.
        if away and not _is_settled(ranked):
            found = await self._offers(wanted, context, away, errors)
            offers += await self._probed(wanted, found, context, errors)
            if any(error.code == "NOT_DOWNLOADABLE" for error in errors):
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
            errors=_without_repetition(errors, [source.name for source in away]),
        )

    async def _offers(
        self,
        wanted: Wanted,
        context: Context,
        sources: Sequence[Source],
        errors: list[schemas.SourceError],
    ) -> list[Offer]:
        """What the sources offer that may be fetched, or might be if a setting allowed it."""
        answers = await asyncio.gather(*(self._ask(source, wanted, context, errors) for source in sources))
        return [
            checked for answer in answers for offer in answer if (checked := self._checked(offer)) is not None
        ]

    @staticmethod
    async def _ask(
        source: Source, wanted: Wanted, context: Context, errors: list[schemas.SourceError]
    ) -> list[Offer]:
        try:
            return await asyncio.wait_for(source.find(wanted, context, Budget()), _SOURCE_SECONDS)
        except asyncio.TimeoutError:
            code, message = "SOURCE_TIMEOUT", f"It gave no answer within {_SOURCE_SECONDS:.0f} seconds."
        except ResolverError as error:
            code, message = error.code, error.message
        except Exception as error:
            # A source may be anyone's code: what it raises costs its own answer only.
            log.warning("The source %s failed", source.name, exc_info=True)
            code, message = "SOURCE_FAILED", f"{type(error).__name__}: {error}"
        errors.append(schemas.SourceError(source=source.name, code=code, message=message))
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
        self, wanted: Wanted, offers: Sequence[Offer], context: Context, errors: list[schemas.SourceError]
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
        probed: list[Offer] = []
        for offer in offers:
            answer = answers.get(offer.url)
            if answer is None:
                probed.append(offer)
            elif answer.error is None:
                probed.append(
                    replace(
                        offer,
                        needs=None,  # whoever asks has what it takes
                        size=answer.size if answer.size is not None else offer.size,
                        # The server's word goes before a catalog's: it is what would be downloaded.
                        sha256=answer.sha256 or offer.sha256,
                    )
                )
            else:
                self._report(offer, answer.error, errors)
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

    @staticmethod
    def _report(offer: Offer, error: DownloadError, errors: list[schemas.SourceError]) -> None:
        host_or_file = url_file_name(offer.url) or offer.url
        found = schemas.SourceError(
            source=offer.source, code=error.code, message=f"{host_or_file}: {error.message}"
        )
        if found not in errors:
            errors.append(found)

    async def _answer(self, url: str) -> _Answer:
        now = time.monotonic()
        key = (self._account(), url)
        known = self._answers.get(key)
        if known is not None and known[0] > now:
            return known[1]
        try:
            remote = await asyncio.wait_for(self._probe(url), _PROBE_SECONDS)
            answer = _Answer(remote.size, remote.sha256)
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


def _is_settled(ranked: Ranked) -> bool:
    best = ranked.candidates[0] if ranked.candidates else None
    return best is not None and best.confidence == "exact" and best.needs is None


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


def _without_repetition(
    errors: Sequence[schemas.SourceError], online: Sequence[str]
) -> list[schemas.SourceError]:
    """Being offline is one state, not an error of every server."""
    unreachable = {error.source for error in errors if error.code == "NETWORK"}
    if not online or not unreachable.issuperset(online):
        return list(errors)
    offline = schemas.SourceError(
        source="resolver",
        code="OFFLINE",
        message="No server can be reached. Only what is known on this machine is shown.",
    )
    return [offline, *(error for error in errors if error.code != "NETWORK")]
