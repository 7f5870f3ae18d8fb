"""One file that a script fetches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKENS = {"huggingface.co": "HF_TOKEN", "civitai.com": "CIVITAI_API_KEY"}
"""Which variable of the environment holds the token of which host."""


@dataclass(frozen=True)
class Item:
    """``urls``: plain ASCII without spaces, best first. ``part``: what the file is called beside its place
    until it is whole. ``needs``: what the user must do first, as in ``Candidate``."""

    folder: str
    name: str
    size: int | None
    sha256: str | None
    urls: tuple[str, ...]
    needs: str | None
    part: str

    @property
    def path(self) -> str:
        """Below ``models/``, with ``/``; its first part is a folder of ComfyUI's, so never a dash."""
        return f"{self.folder}/{self.name}"


def part_name(folder: str, name: str, sha256: str | None) -> str:
    """Short and equal in each run; of another content it is another one. No model list shows it."""
    digest = hashlib.sha256(f"{folder}/{name}\n{sha256}".encode()).hexdigest()
    return f".{digest[:24]}.part"


def token_of(url: str) -> str | None:
    """The variable of the token that ``url`` may need."""
    return TOKENS.get(urlsplit(url).hostname or "")


def in_ascii(text: str) -> str:
    """Text for a comment, in which no system's line ends and no terminal's commands can stand."""
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")
