"""What the routes do: parse the request, call the service, write the answer. No logic of their own.

Each handler is ``async (api, request) -> response``; ``Api`` wraps it with the guard and the errors.
Blocking work, parsing and writing JSON included, happens in threads: the loop is ComfyUI's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, get_args

from aiohttp import hdrs, web

from .. import schemas
from ..app import Resolver
from ..credentials import check, parse_provider
from ..ensuring import ensure
from ..errors import ResolverError
from ..exporting import JSON_FORMATS
from ..exporting import export as write_export
from ..locking import locate
from ..net.urls import Provider
from ..workflow.document import Document, Style
from . import answers, prompts
from . import openapi as description
from .answers import json_answer
from .bodies import body_or_file, is_form, parse_asked, parse_body, parse_export, parse_workflow
from .metrics import CONTENT_TYPE as METRICS_TYPE
from .metrics import encode_metrics

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 15.0
_EMBED_SECONDS = 40.0  # the editor's fetch gives up after 60 without an answer


async def health(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await json_answer(lambda: answers.describe_health(resolver))


async def metrics(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    downloads = await resolver.engine.run(resolver.downloads.list())
    body = await asyncio.to_thread(lambda: encode_metrics(answers.describe_health(resolver), downloads))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: METRICS_TYPE})


async def analyze(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    body = await body_or_file(request)
    wrapped = not is_form(request)
    afresh = request.query.get("afresh") == "true"
    return await json_answer(lambda: resolver.analyze(parse_workflow(body, wrapped=wrapped), afresh=afresh))


async def resolve(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    body = await body_or_file(request)
    asked = await asyncio.to_thread(parse_asked, resolver, body, wrapped=not is_form(request))
    response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "application/x-ndjson"
    await response.prepare(request)
    # The first byte leaves at once: the editor's fetch gives up where headers alone take too long,
    # and proxies hold headers back until there is a body. A space before an object is still JSON.
    await response.write(b" ")
    try:
        wanted, context = await asyncio.to_thread(asked.wanted, resolver)

        def found() -> AsyncIterator[schemas.Resolution]:
            return resolver.resolve(wanted, context, only=asked.sources, online=asked.online)

        async for resolution in resolver.engine.stream(found):
            await response.write(resolution.model_dump_json().encode() + b"\n")
        await response.write(b'{"done":true}\n')
    except Exception as error:
        if isinstance(error, ConnectionResetError):
            raise
        # The status has been sent, so the error is a line of its own, and no {"done": true} follows.
        log.exception("resolve failed")
        said = error if isinstance(error, ResolverError) else ResolverError("The search failed; see the log.")
        await response.write(json.dumps({"error": said.as_json()}).encode() + b"\n")
    return response


async def embed(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    asked = await parse_body(request, schemas.EmbedRequest)
    embedding = await asyncio.to_thread(resolver.embedding, asked.workflow)
    resolving = resolver.resolved(embedding, online=asked.online, seconds=_EMBED_SECONDS)
    found = await resolver.engine.run(resolving)

    def written() -> bytes:
        embedding.write(found)
        return Document(asked.workflow, Style(indent=None)).encode()

    return web.Response(body=await asyncio.to_thread(written), content_type="application/json")


async def export(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    asked = await parse_body(request, schemas.ExportRequest)
    needs = await asyncio.to_thread(parse_export, resolver, asked)
    located = await resolver.engine.run(locate(resolver, needs, online=asked.online, seconds=_EMBED_SECONDS))
    policy = resolver.client.policy
    exported = await asyncio.to_thread(lambda: write_export(asked.format, located, (), policy))
    kind = "application/json" if asked.format in JSON_FORMATS else "text/plain"
    return web.Response(text=exported.text, content_type=kind)


async def prompt(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    """ComfyUI's ``POST /prompt``, with the models of the prompt fetched first."""
    queue = await prompts.comfyui_queue(resolver, request)
    seconds = prompts.parse_wait(request.query.get("wait"))
    body = await prompts.read_prompt(request)
    ensured = await resolver.engine.run(ensure(resolver, body, seconds=seconds))
    if not ensured.complete:
        return await json_answer(lambda: schemas.DownloadsAnswer(downloads=ensured.downloads), status=202)
    return await queue(request)


async def create_downloads(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    asked = await parse_body(request, schemas.DownloadsRequest)
    downloads = await resolver.engine.run(resolver.downloads.submit(asked.items))
    return await json_answer(lambda: schemas.DownloadsAnswer(downloads=downloads), status=202)


async def list_downloads(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    downloads = await resolver.engine.run(resolver.downloads.list())
    return await json_answer(lambda: schemas.DownloadsAnswer(downloads=downloads))


async def get_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _one(resolver, resolver.downloads.get(request.match_info["id"]))


async def remove_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    await resolver.engine.run(resolver.downloads.remove(request.match_info["id"]))
    return web.Response(status=204)


async def prioritise_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    asked = await parse_body(request, schemas.PriorityRequest)
    return await _one(resolver, resolver.downloads.set_priority(request.match_info["id"], asked.priority))


async def pause_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _one(resolver, resolver.downloads.pause(request.match_info["id"]))


async def resume_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _one(resolver, resolver.downloads.resume(request.match_info["id"]))


async def cancel_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _one(resolver, resolver.downloads.cancel(request.match_info["id"]))


async def retry_download(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _one(resolver, resolver.downloads.retry(request.match_info["id"]))


async def pause_all(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _many(resolver, resolver.downloads.pause_all())


async def resume_all(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _many(resolver, resolver.downloads.resume_all())


async def cancel_all(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _many(resolver, resolver.downloads.cancel_all())


async def retry_all(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await _many(resolver, resolver.downloads.retry_all())


async def list_parts(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    parts = await resolver.engine.run(resolver.downloads.orphans())
    return await json_answer(lambda: schemas.PartsAnswer(parts=parts))


async def remove_part(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    await resolver.engine.run(resolver.downloads.remove_orphan(request.match_info["id"]))
    return web.Response(status=204)


async def events(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    """Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    await response.write(b": listening\n\n")
    stream = resolver.engine.stream(resolver.events.listen)
    pending = asyncio.ensure_future(anext(stream))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=_KEEP_ALIVE_SECONDS)
            if not done:
                await response.write(b": alive\n\n")  # also how a closed connection is noticed
                continue
            name, data = pending.result()
            await response.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
            pending = asyncio.ensure_future(anext(stream))
    except (ConnectionResetError, StopAsyncIteration):
        return response
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await stream.aclose()


async def folders(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await json_answer(lambda: answers.describe_folders(resolver))


async def library(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    folder, query = request.query.get("folder"), request.query.get("query", "")
    return await json_answer(lambda: answers.describe_library(resolver, folder, query))


async def hashing(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await json_answer(resolver.hashing_state)


async def hash_library(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    # Without a body it begins.
    asked = await parse_body(request, schemas.HashRequest) if request.can_read_body else schemas.HashRequest()
    return await json_answer(lambda: resolver.hash_library(asked.action, asked.folder))


async def duplicates(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await json_answer(resolver.duplicates)


async def settings(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    return await json_answer(lambda: answers.describe_settings(resolver))


async def change_settings(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    asked = await parse_body(request, schemas.SettingsRequest)

    def changed() -> schemas.SettingsAnswer:
        resolver.change_settings(asked.root)
        return answers.describe_settings(resolver)

    return await json_answer(changed)


async def list_credentials(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    def states() -> schemas.CredentialsAnswer:
        return schemas.CredentialsAnswer(
            credentials=[resolver.credentials.state(provider) for provider in get_args(Provider)]
        )

    return await json_answer(states)


async def put_credential(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    provider = parse_provider(request.match_info["provider"])
    asked = await parse_body(request, schemas.CredentialRequest)
    return await json_answer(lambda: resolver.credentials.put(provider, asked.token))


async def delete_credential(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    provider = parse_provider(request.match_info["provider"])
    return await json_answer(lambda: resolver.credentials.delete(provider))


async def check_credential(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    provider = parse_provider(request.match_info["provider"])
    asked = await parse_body(request, schemas.CredentialCheckRequest)
    found = await resolver.engine.run(check(resolver.credentials, resolver.client, provider, asked.url))
    return await json_answer(lambda: found)


async def openapi(resolver: Resolver, request: web.Request) -> web.StreamResponse:
    body = await asyncio.to_thread(lambda: json.dumps(description.document()).encode())
    return web.Response(body=body, content_type="application/json")


async def _one(resolver: Resolver, work: Coroutine[Any, Any, schemas.Download]) -> web.Response:
    download = await resolver.engine.run(work)
    return await json_answer(lambda: download)


async def _many(resolver: Resolver, work: Coroutine[Any, Any, list[schemas.Download]]) -> web.Response:
    downloads = await resolver.engine.run(work)
    return await json_answer(lambda: schemas.DownloadsAnswer(downloads=downloads))


Handler = Callable[[Resolver, web.Request], Awaitable[web.StreamResponse]]
HANDLERS: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        health,
        metrics,
        analyze,
        resolve,
        embed,
        export,
        prompt,
        create_downloads,
        list_downloads,
        pause_all,
        resume_all,
        cancel_all,
        retry_all,
        get_download,
        remove_download,
        prioritise_download,
        pause_download,
        resume_download,
        cancel_download,
        retry_download,
        list_parts,
        remove_part,
        events,
        folders,
        library,
        hashing,
        hash_library,
        duplicates,
        settings,
        change_settings,
        list_credentials,
        put_credential,
        delete_credential,
        check_credential,
        openapi,
    )
}
