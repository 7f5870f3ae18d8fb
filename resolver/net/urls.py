"""URLs: one that may be fetched, and how people and job rows may see any: without anything secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

Provider = Literal["huggingface", "civitai"]
Origin = tuple[str, str, int]
"""Scheme, host and port."""

# A secret of its own: only this parameter is dropped.
_TOKENS = re.compile(
    r"(^|_)((api|access|auth|bearer|refresh|session)?token|(api|access|auth|secret|private)?key|jwt|o?auth|bearer"
    r"|secret|password|passwd|passphrase|pass|pwd|credentials?|sas|ticket|session|sid)$"
)
# A second question mark is what appending "?token=…" to a URL with a query makes.
_SEPARATORS = re.compile(r"&amp;|[&;?]")
# Parts of a signature: it covers the whole query, none of which means anything without it. Amazon and
# Cloudflare R2 (X-Amz-*), Google (X-Goog-*), CloudFront (Policy, Signature, Key-Pair-Id), Azure (sig),
# Backblaze (Authorization), Cloudflare (verify), Akamai (hdnts, hdnea).
_SIGNATURES = frozenset(
    ("authorization", "policy", "signature", "key-pair-id", "sig", "verify", "hmac", "hdnts", "hdnea")
)
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-", "x-ms-", "x-xet-")
_VERBS = ("resolve", "blob", "raw")
_CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red")


@dataclass(frozen=True)
class CheckedUrl:
    """A URL that passed ``policy.UrlPolicy``, which alone makes them.

    ``url`` is what is sent and may be secret; ``str()`` is for people.
    """

    scheme: str
    host: str
    port: int
    url: str = field(repr=False)

    @property
    def origin(self) -> Origin:
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return redact(self.url)


def redact(url: str) -> str:
    """``url`` without user, password, tokens, signatures and fragment; for rows, events and logs.

    What is left of a URL with a token of its own still names the same file.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    path = parts.path
    if not parts.netloc and "@" in path:
        path = path.rpartition("@")[2]  # https:/me:secret@host/x, a slip that is no URL but may be shown
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, _redacted_query(parts.query), ""))


def _redacted_query(query: str) -> str:
    kept = []
    for piece in _SEPARATORS.split(query):
        name, _, value = piece.partition("=")
        name, value = unquote(name).strip(), unquote(value)
        if name.lower() in _SIGNATURES or name.lower().startswith(_SIGNATURE_PREFIXES):
            return ""
        # hf_…: what Hugging Face's tokens begin with, whatever the parameter is called.
        if _TOKENS.search(_folded(name)) or value.startswith(("hf_", "Bearer ")):
            continue
        # A URL in a URL, as redirectors have it, has to be fit to be shown as well.
        if "://" not in value or redact(value) == value:
            kept.append(piece)
    return "&".join(kept)


def _folded(name: str) -> str:
    """``apiToken``, ``api-token``, ``API_TOKEN`` and ``api_token[]`` are one name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).strip("_").lower()


def hub_file_path(path: str) -> str:
    """The path that serves a file of the Hub: its page (``/o/r/blob/…``) becomes ``/o/r/resolve/…``."""
    steps = path.split("/")
    verb = 4 if steps[1:2] in (["datasets"], ["spaces"]) else 3
    if len(steps) > verb + 1 and steps[verb] == "blob":
        steps[verb] = "resolve"
    return "/".join(steps)


def page_url(url: str) -> str | None:
    """The page on which a person reads about the file at ``url`` and accepts its licence, if known.

    ``https://huggingface.co/o/r/resolve/main/x.safetensors`` -> ``https://huggingface.co/o/r``;
    ``https://civitai.com/api/download/models/7`` -> ``https://civitai.com/model-versions/7``.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    steps = parts.path.strip("/").split("/")
    if parts.hostname in _CIVITAI_HOSTS:
        if steps[:3] == ["api", "download", "models"] and len(steps) > 3 and steps[3].isdigit():
            return f"https://{parts.hostname}/model-versions/{steps[3]}"
        return None
    for verb in _VERBS:
        if verb in steps[2:4]:
            return urlunsplit((parts.scheme, parts.netloc, "/".join(steps[: steps.index(verb, 2)]), "", ""))
    return None


def site_page(url: str, provider: Provider) -> str | None:
    """``page_url`` at the site itself, for a ``url`` of it or of a mirror, which may have a path of its own.

    Licences are accepted, and accounts kept, there and nowhere else.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if provider == "civitai":
        host = parts.hostname if parts.hostname in _CIVITAI_HOSTS else "civitai.com"
        at = parts.path.find("/api/download/models/")
        return page_url(f"https://{host}{parts.path[at:]}") if at >= 0 else None
    steps = parts.path.strip("/").split("/")
    verb = next((at for at, step in enumerate(steps) if at > 1 and step in _VERBS), None)
    if verb is None:
        return None
    kind = steps[verb - 3 : verb - 2] if steps[verb - 3 : verb - 2] in (["datasets"], ["spaces"]) else []
    return "/".join(("https://huggingface.co", *kind, *steps[verb - 2 : verb]))
