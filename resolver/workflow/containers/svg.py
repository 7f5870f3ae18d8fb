"""SVG: JSON in ``<metadata>``.

ComfyUI's SaveSVGNode (``comfy_extras/nodes_images.py``) puts a CDATA section with ``{"prompt", "workflow"}``
behind the opening tag. It does so by text, not by XML, so that is how it is found here as well.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from .found import Entry
from .reader import Reader, decode

_STARTS = (b"<svg", b"<?xml", b"<!--", b"<!doctype svg")
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_MAX_ELEMENTS = 100


def is_svg(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (some hundred bytes) is SVG."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(_STARTS) and b"<svg" in text


def read(file: Reader) -> Iterator[Entry]:
    """The content of each ``<metadata>`` that is text."""
    text = decode(file.rest())
    offset = 0
    for _ in range(_MAX_ELEMENTS):
        start = text.find("<metadata", offset)
        body = text.find(">", start) + 1
        if start < 0 or not body:
            return
        while body < len(text) and text[body].isspace():
            body += 1
        is_cdata = text.startswith(_CDATA, body)
        body += len(_CDATA) if is_cdata else 0
        end = text.find(_CDATA_END if is_cdata else "</metadata", body)
        if end < 0:
            yield "", text[body:]
            return
        content = text[body:end].strip()
        yield "", content if is_cdata else html.unescape(content)
        offset = end
