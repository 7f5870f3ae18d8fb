"""Generation parameters as text: which models they name.

The form is stable-diffusion-webui's (AUTOMATIC1111, ``modules/processing.py`` ``create_infotext``), which
Forge, Civitai and many save nodes of ComfyUI write as well::

    a castle <lora:add_detail:0.6>
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, Model hash: 6ce0161689, Model: v1-5-pruned, VAE hash: 63aeecb90f,
    VAE: vae.pt, Lora hashes: "add_detail: 7c6bad76eb54", Hashes: {"model": "6ce0161689"}

Values with a comma are JSON strings; extensions add JSON objects and lists.

Civitai's generator lists what it used also inside the workflow: AIRs in ``extra.airs`` (formerly
``model@version`` in ``extra.ckpt_airs``, ``lora_airs``, ``embedding_airs``), and ``extraMetadata``, JSON in a
string, with ``resources: [{"modelVersionId", "strength"}]``. Source: github.com/civitai/civitai,
``src/utils/metadata/comfy.metadata.ts``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["checkpoint", "vae", "lora", "embedding", "hypernetwork", "controlnet", "upscaler", "other"]

_MAX_TEXT = 1024 * 1024
_DETAILS_LINE = re.compile(r"(?:^|\n)[ \t]*Steps:")
_DETAILS = re.compile(r"\bSteps: ?\d")
_KEY = re.compile(r"\s*(\w[\w \-/]{0,63}):[ \t]*")
_TAG = re.compile(r"<(lora|lyco|hypernet):([^:<>\n]{1,256})[:>]", re.IGNORECASE)
_NAME_WITH_HASH = re.compile(r"(.+?) ?[\[(]([0-9a-fA-F]{8,64})[\])]")
_HASH = re.compile(r"(?:0x)?([0-9a-fA-F]{8,64})")
_AIR = re.compile(r"urn:air:[^:]*:([^:]*):[^:]+:[^:@]+(?:@(\d+))?", re.IGNORECASE)
_OLD_AIR = re.compile(r"\d+@(\d+)")
_OLD_AIRS: dict[str, str] = {"ckpt_airs": "checkpoint", "lora_airs": "lora", "embedding_airs": "embedding"}
_CONTROLNET_MODEL = re.compile(r"(?:^|, )[Mm]odel: ([^,]+)")
_NOTHING = frozenset({"", "none", "automatic", "undefined", "use same checkpoint"})
_DECODER = json.JSONDecoder()

_KINDS: dict[str, Kind] = {
    "model": "checkpoint",
    "checkpoint": "checkpoint",
    "vae": "vae",
    "lora": "lora",
    "lyco": "lora",
    "locon": "lora",
    "lycoris": "lora",
    "dora": "lora",
    "embed": "embedding",
    "embedding": "embedding",
    "textualinversion": "embedding",
    "ti": "embedding",
    "hypernet": "hypernetwork",
    "hypernetwork": "hypernetwork",
    "controlnet": "controlnet",
    "upscaler": "upscaler",
}
_HASH_LISTS: dict[str, Kind] = {"Lora hashes": "lora", "TI hashes": "embedding"}


@dataclass(frozen=True)
class A1111Model:
    """One model that the parameters name.

    ``name``: as the writer knew the file, mostly without folder and extension. ``hashes``: lower-case hex,
    shortened; 10 digits begin the file's SHA-256 (Civitai's AutoV2), 12 that of a LoRA's tensors alone
    (AutoV3), 8 are the old hash of a part of the file (AutoV1). ``title``, ``version_id`` and ``air``:
    Civitai's name for it, which is not a file name, its model version, and its AIR.
    """

    kind: Kind
    name: str | None = None
    hashes: tuple[str, ...] = ()
    title: str | None = None
    version_id: int | None = None
    air: str | None = None

    @property
    def autov2(self) -> str | None:
        return self._hash(10)

    @property
    def autov3(self) -> str | None:
        return self._hash(12)

    def _hash(self, digits: int) -> str | None:
        return next((digest for digest in self.hashes if len(digest) == digits), None)


@dataclass(frozen=True)
class A1111:
    """What generation parameters say of models, in the order of their first mention, each once."""

    models: tuple[A1111Model, ...] = ()


def parse_parameters(text: str) -> A1111:
    """The models named in generation parameters. Text of another form names none; nothing is raised."""
    prompt, details = _split(text[:_MAX_TEXT])
    fields = dict(_fields(details))
    models = _Models()
    models.add("checkpoint", _text(fields.get("Model")), _text(fields.get("Model hash")))
    models.add("vae", _text(fields.get("VAE")), _text(fields.get("VAE hash")))
    for key, value in fields.items():
        if key in ("Refiner", "Hires checkpoint"):
            models.add("checkpoint", *_name_and_hash(_text(value)))
        elif key.startswith("ControlNet "):
            models.add("controlnet", *_name_and_hash(_controlnet_model(key, _text(value))))
        elif key.startswith("Module ") and key[7:].isdigit():  # Forge: text encoders and VAE in one list
            models.add("other", _text(value))
    for tag, name in _TAG.findall(f"{prompt}\n{_text(fields.get('Hires prompt'))}"):
        models.add(_KINDS[tag.lower()], name)
    for key, kind in _HASH_LISTS.items():
        for pair in _text(fields.get(key)).split(","):
            name, _, digest = pair.rpartition(":")
            models.add(kind, name, digest)
    hashes = fields.get("Hashes")
    for key, digest in hashes.items() if isinstance(hashes, dict) else ():
        # "model", "vae", "lora:name", "embed:name"; a bare name is a LoRA's in some writers.
        word, _, name = key.partition(":")
        kind = _KINDS.get(word.lower(), "other")
        models.add(kind, (name or models.only(kind)) if kind != "other" else key, _text(digest))
    return A1111((*models.all(), *_civitai(fields.get("Civitai resources"))))


def listed_models(content: Any) -> tuple[A1111Model, ...]:
    """The models that Civitai's generator lists in a workflow's JSON, each once; nothing is raised."""
    if not isinstance(content, dict):
        return ()
    extra, metadata = content.get("extra"), content.get("extraMetadata")
    extra = extra if isinstance(extra, dict) else {}
    entries: list[Any] = [{"air": air} for air in _list(extra.get("airs"))]
    for key, kind in _OLD_AIRS.items():
        for air in _list(extra.get(key)):
            version = _OLD_AIR.fullmatch(_text(air))
            entries.append({"type": kind, "modelVersionId": version[1]} if version else None)
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata[:_MAX_TEXT])
        except (ValueError, RecursionError):
            metadata = None
    if isinstance(metadata, dict):
        entries += _list(metadata.get("resources"))
    # The same versions stand in several lists; the first says most.
    listed: dict[int | str | None, A1111Model] = {}
    for model in _civitai(entries):
        listed.setdefault(model.version_id or model.air or model.title, model)
    return tuple(listed.values())


class _Models:
    """Names and hashes by kind, each model once however often it is mentioned."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[Kind, str], list[str]] = {}

    def add(self, kind: Kind, name: str, digest: str = "") -> None:
        name = "" if name.strip().lower() in _NOTHING else name.strip()
        match = _HASH.fullmatch(digest.strip())
        if name or match:
            hashes = self._hashes.setdefault((kind, name), [])
            if match and match[1].lower() not in hashes:
                hashes.append(match[1].lower())

    def only(self, kind: Kind) -> str:
        """The name of the first model of a kind, which is the one a bare "model" or "vae" means."""
        return next((name for known, name in self._hashes if known == kind), "")

    def all(self) -> Iterator[A1111Model]:
        for (kind, name), hashes in self._hashes.items():
            yield A1111Model(kind, name or None, tuple(hashes))


def _split(text: str) -> tuple[str, str]:
    """(prompt and negative prompt, the details from "Steps:" on)."""
    lines = [match.start() for match in _DETAILS_LINE.finditer(text)]
    inline = None if lines else _DETAILS.search(text)
    start = lines[-1] if lines else inline.start() if inline else len(text)
    return text[:start], text[start:]


def _fields(details: str) -> Iterator[tuple[str, Any]]:
    """``Key: value`` pairs; a value is JSON (string, object, list) where it begins so, else up to a comma."""
    offset = 0
    while offset < len(details):
        match = _KEY.match(details, offset)
        if match:
            offset = match.end()
            if details[offset : offset + 1] in ('"', "{", "["):
                try:
                    value, offset = _DECODER.raw_decode(details, offset)
                    yield match[1], value
                except (ValueError, RecursionError):
                    pass
            else:
                end = _end(details, offset)
                yield match[1], details[offset:end].strip()
        offset = _end(details, offset) + 1


def _end(details: str, offset: int) -> int:
    comma = details.find(",", offset)
    return len(details) if comma < 0 else comma


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _name_and_hash(text: str) -> tuple[str, str]:
    """``name [hash]`` or ``name(hash)``."""
    match = _NAME_WITH_HASH.fullmatch(text.strip())
    return (match[1], match[2]) if match else (text, "")


def _controlnet_model(key: str, value: str) -> str:
    """From ``ControlNet 0: "Module: canny, Model: name [hash], …"``, or ``ControlNet 0 Model: …`` of old."""
    if key.endswith(" Model"):
        return value
    match = _CONTROLNET_MODEL.search(value)
    return match[1] if match else ""


def _civitai(resources: Any) -> Iterator[A1111Model]:
    """Civitai's own list: ``[{"type", "modelVersionId", "modelName", "versionName", "air"}, …]``."""
    for entry in _list(resources):
        if not isinstance(entry, dict):
            continue
        # urn:air:<family>:<type>:<site>:<model>@<version>
        air = _AIR.match(_text(entry.get("air")).strip())
        kind = _text(entry.get("type")) or (air[1] if air else "")
        version = str(entry.get("modelVersionId") or (air[2] if air else None) or "")
        version_id = int(version) if version.isdecimal() and len(version) < 16 else None
        titles = (entry.get("modelName"), entry.get("versionName") or entry.get("modelVersionName"))
        title = " ".join(part for part in titles if isinstance(part, str) and part) or None
        if version_id or title or air:
            yield A1111Model(
                _KINDS.get(kind.lower(), "other"),
                title=title,
                version_id=version_id,
                air=entry["air"].strip() if air else None,
            )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
