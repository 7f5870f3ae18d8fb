"""What to search for, given the name of a file. Pure."""

from __future__ import annotations

import re

from ..names import basename
from ..roles import Roles, parse_roles

_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)+|[^\W_]+(?:\.[0-9]+)*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VERSION = re.compile(r"[vV]?[0-9]+(?:\.[0-9]+)*")
_GLUED_VERSION = re.compile(r"(?<=[A-Za-z])(?=[0-9]+\.[0-9])|(?<=[a-z]{3})(?=[vV][0-9])")
_MOST = 4
_LONGEST_PACKING = 4  # tokens: Q4 K M gguf


def search_queries(name: str) -> tuple[str, ...]:
    """Searches for the title under which the file may be published, the most telling first.

    ``wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors`` -> the whole stem, then its words without those of
    packing (``wan2.2 i2v high noise 14B``), then the first of them (``wan2.2 i2v``), which are mostly the
    family, and without a version, which titles leave out.
    """
    stem = basename(name).rsplit(".", 1)[0]
    words = [part for word in _without_packing(_TOKEN.findall(stem)) for part in _parts(word)]
    title = [word for word in words if not _VERSION.fullmatch(word)]
    queries = [stem, " ".join(words), " ".join(title[:2]), *(word for word in title[:1] if len(word) > 5)]
    return tuple(dict.fromkeys(query for query in queries if len(query) > 2))[:_MOST]


def _without_packing(tokens: list[str]) -> list[str]:
    """The tokens but for those that only say how the model is stored: ``fp8 e4m3fn scaled``, ``Q4 K S``."""
    kept = list(tokens)
    start = 0
    while start < len(kept):
        for length in range(min(_LONGEST_PACKING, len(kept) - 1), 0, -1):
            others = kept[:start] + kept[start + length :]
            before, after = _roles(kept), _roles(others)
            only_packing = (before.stated, before.words) == (after.stated, after.words)
            if only_packing and before.packing != after.packing:
                kept = others
                break
        else:
            start += 1
    return kept


def _parts(word: str) -> list[str]:
    """``ltx2.3`` -> ``ltx``, ``2.3``, as repositories write LTX-2.3; ``NetaYumev35`` likewise."""
    return _GLUED_VERSION.sub(" ", word).split()


def _roles(tokens: list[str]) -> Roles:
    return parse_roles("_".join(tokens))


def title_queries(name: str) -> tuple[str, ...]:
    """Searches for the title of a model whose files are called after title and version.

    ``epicRealismXL_v5Ultimate.safetensors`` -> ``epic Realism XL``, then its words as they stand.
    """
    stem = basename(name).rsplit(".", 1)[0]
    title = " ".join(part for token in _TOKEN.findall(stem.split("_", 1)[0]) for part in _CAMEL.split(token))
    words = " ".join(_without_packing(_TOKEN.findall(stem)))
    return tuple(dict.fromkeys(query for query in (title, words) if len(query) > 2))
