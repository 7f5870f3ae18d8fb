"""Models named in prompt text: ``embedding:name`` and ``<lora:name:0.8>``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# ComfyUI takes the word behind "embedding:" up to white space, without a weight, brackets or commas
# (comfy/sd1_clip.py, tokenize_with_weights), if nothing but white space or a bracket is before it.
_EMBEDDING = re.compile(r"(?:^|(?<=[\s(,]))embedding:([^\s,:()<>\[\]]+)")
# The syntax of A1111, which node packs read: <lora:name>, <lora:name:0.8>, <lora:name:1:0.5>.
_TAG = re.compile(r"<(lora|lyco|hypernet):([^:<>\n]+)(?::[^<>\n]*)?>", re.IGNORECASE)
_FOLDERS = {"lora": "loras", "lyco": "loras", "hypernet": "hypernetworks"}


class Tag(NamedTuple):
    """``name``: as written, mostly without an extension. ``anywhere``: a file in any subfolder will do."""

    folder: str
    name: str
    anywhere: bool


def tags(text: str) -> Iterator[Tag]:
    """The models that a prompt names, each as often as it stands there."""
    if "embedding:" in text:
        for match in _EMBEDDING.finditer(text):
            yield Tag("embeddings", match.group(1), False)
    if "<" in text:
        for match in _TAG.finditer(text):
            yield Tag(_FOLDERS[match.group(1).lower()], match.group(2).strip(), True)


def renamed(text: str, folder: str, name: str, new: str) -> str:
    """``text`` with every tag of ``folder`` that names ``name`` naming ``new`` instead."""

    def spelled(match: re.Match[str], group: int, its_folder: str) -> str:
        whole, old = match.group(0), match.group(group)
        if its_folder != folder or old.strip() != name:
            return whole
        start = match.start(group) - match.start(0)
        return whole[:start] + old.replace(name, new) + whole[start + len(old) :]

    text = _EMBEDDING.sub(lambda match: spelled(match, 1, "embeddings"), text)
    return _TAG.sub(lambda match: spelled(match, 2, _FOLDERS[match.group(1).lower()]), text)
