"""Values that say where a model lies instead of what its file is called: URLs and AIR.

AIR (AI Resource Identifier) is Civitai's way to name a model of any hub, its older forms included::

    urn:air:{ecosystem}:{type}:{source}:{id}[@{version}][+{file}][:{layer}][.{format}]

``urn:`` and ``air:`` may be left out, so may ecosystem and type. Source: developer.civitai.com,
"AIR identifiers", and the page "AIR" of Civitai's wiki.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ..names import basename
from ..net.urls import hub_file_path, redact

MODEL_EXTENSIONS = (
    ".safetensors",
    ".sft",
    ".ckpt",
    ".pt",
    ".pt2",
    ".pth",
    ".bin",
    ".pkl",
    ".gguf",
    ".onnx",
)

_AIR = re.compile(
    r"(?:urn:)?(?:air:)?(?:(?:[\w.-]+:)?(?P<type>[\w-]+):)?(?P<source>civitai|huggingface):"
    r"(?P<id>[\w./-]+?)(?:@(?P<version>[\w./=-]+?))?(?:\+(?P<file>\d+))?(?::(?P<layer>[\w-]+))?"
    r"(?:\.(?P<format>safetensors?|ckpt|pt|pth|bin|gguf|onnx|diffusers?|tensor ?rt))?",
    re.IGNORECASE,
)
_FOLDERS = {
    "checkpoint": "checkpoints",
    "model": "checkpoints",
    "lora": "loras",
    "lycoris": "loras",
    "locon": "loras",
    "dora": "loras",
    "embedding": "embeddings",
    "hypernet": "hypernetworks",
    "vae": "vae",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
}
_NO_MODELS = frozenset({"poses", "wildcards", "workflow", "workflows", "other"})
_EXTENSIONS = {name: f".{name}" for name in ("ckpt", "pt", "pth", "bin", "gguf", "onnx")}
_CIVITAI = ("civitai.com", "www.civitai.com", "civitai.red")
_HUB = ("huggingface.co", "hf.co")


@dataclass(frozen=True)
class Remote:
    """Where a model lies.

    ``name``: its file name; one made of the ids where the address has none, always the same for one
    address. ``url``: what serves the file, if the address tells; without secrets. ``folder``: what an
    AIR's type says. ``is_air``: it can be nothing but a model.
    """

    name: str
    url: str | None
    folder: str | None = None
    is_air: bool = False


def parse_remote(value: str) -> Remote | None:
    """The place that ``value`` names; ``None`` if it names none, or nothing that is a model's file."""
    value = value.strip()
    return _from_url(value) if "://" in value else _from_air(value)


def _from_air(value: str) -> Remote | None:
    match = _AIR.fullmatch(value)
    if match is None or (match["type"] or "").lower() in _NO_MODELS:
        return None
    folder = _FOLDERS.get((match["type"] or "").lower())
    extension = _EXTENSIONS.get((match["format"] or "").lower(), ".safetensors")
    if match["source"].lower() == "huggingface":
        return _from_hub(match["id"], match["version"], match["format"], folder)
    model, version, file = match["id"], match["version"], match["file"]
    if not model.isdigit() or (version is not None and not version.isdigit()):
        return None
    name = "-".join(part for part in ("civitai", model, version, file) if part)
    # A version's address serves its first file, which the one meant may not be.
    url = None if file or not version else _civitai_download(version)
    return Remote(f"{name}{extension}", url, folder, True)


def _from_hub(repository: str, version: str | None, form: str | None, folder: str | None) -> Remote | None:
    """``owner/repo`` and, as version, a revision, a file, or a file in a revision."""
    if repository.count("/") != 1:
        return None
    path = f"{version}.{form}" if version and form else version or ""
    revision, slash, inner = path.partition("/")
    if not slash:
        revision, inner = "main", path
    if _is_file(inner):
        url = f"https://huggingface.co/{quote(repository)}/resolve/{quote(revision)}/{quote(inner)}"
        return Remote(basename(inner), url, folder, True)
    stem = "-".join(part for part in ("huggingface", *repository.split("/"), version) if part)
    return Remote(f"{stem.replace('/', '-')}.safetensors", None, folder, True)


def _from_url(value: str) -> Remote | None:
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or any(char.isspace() for char in value):
        return None
    if parts.hostname in _CIVITAI:
        return _from_civitai(value, parts.path, parts.query)
    path = hub_file_path(parts.path) if parts.hostname in _HUB else parts.path
    name = basename(unquote(path))
    if not _is_file(name):
        return None
    query = "" if parts.hostname in _HUB else parts.query
    return Remote(name, redact(parts._replace(path=path, query=query).geturl()))


def _from_civitai(value: str, path: str, query: str) -> Remote | None:
    steps = path.strip("/").split("/")
    # The catalogue is split between the two sites.
    site = "civitai.red" if urlsplit(value).hostname == "civitai.red" else "civitai.com"
    if steps[:3] == ["api", "download", "models"] and len(steps) == 4 and steps[3].isdigit():
        return Remote(f"civitai-version-{steps[3]}.safetensors", redact(value))
    if steps[:1] == ["models"] and len(steps) > 1 and steps[1].isdigit():
        version = parse_qs(query).get("modelVersionId", [""])[0]
        if version.isdigit():
            return Remote(f"civitai-{steps[1]}-{version}.safetensors", _civitai_download(version, site))
        return Remote(f"civitai-{steps[1]}.safetensors", None)
    return None


def _civitai_download(version: str, site: str = "civitai.com") -> str:
    return f"https://{site}/api/download/models/{version}"


def _is_file(name: str) -> bool:
    return name.lower().endswith(MODEL_EXTENSIONS)
