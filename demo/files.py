"""One file of a hub: its bytes, made when first asked for, and every name that hubs have for them.

Contents follow from the seed and the size or layout alone, so that the same file has the same bytes
in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property

from .gguf import make_gguf
from .layouts import Layout
from .safetensors import make_safetensors, pseudo_random_bytes

_LFS_VERSION = "https://git-lfs.github.com/spec/v1"


@dataclass(frozen=True)
class HubFile:
    """A file at ``path`` in its repository. ``seed`` decides the bytes, ``size`` is in bytes.

    Files of equal seed and size (and layout, if they have one) have equal contents, whatever they
    are called. ``text`` makes it a small file that git holds itself; all others are LFS files.
    """

    path: str
    size: int
    seed: str
    layout: Layout | None = None
    text: str | None = None

    @classmethod
    def of_layout(cls, path: str, seed: str, layout: Layout) -> HubFile:
        """A safetensors file with these tensors, a few KiB."""
        return cls(path, layout.size, seed, layout=layout)

    @classmethod
    def of_text(cls, path: str, text: str) -> HubFile:
        return cls(path, len(text.encode()), "", text=text)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def is_lfs(self) -> bool:
        return self.text is None

    @property
    def content(self) -> bytes:
        """Small ones are made anew each time, in less than a millisecond: thousands cost no memory."""
        if self.text is not None:
            return self.text.encode()
        if self.layout is not None:
            return self.layout.file(self.seed)
        return self._kept_content

    @cached_property
    def _kept_content(self) -> bytes:
        """A real safetensors or GGUF file if the name says so, else random bytes. Takes some 5 ms a MiB."""
        if self.name.endswith(".safetensors"):
            return make_safetensors(self.seed, self.size)
        if self.name.endswith(".gguf"):
            return make_gguf(self.seed, self.size)
        return pseudo_random_bytes(self.seed, self.size)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def xet_hash(self) -> str:
        """What the storage host calls the content: 64 hex digits too, but *not* the SHA-256.

        The real one is a tree of BLAKE3 hashes (https://huggingface.co/docs/xet/hashing);
        clients only see that it differs, so any other function of the content will do.
        """
        return hashlib.sha256(b"xet:" + bytes.fromhex(self.sha256)).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git holds in its place (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
        return f"version {_LFS_VERSION}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def blob_id(self) -> str:
        """Git's name of what it holds, a SHA-1: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects."""
        held = self.pointer if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()

    @cached_property
    def civitai_hashes(self) -> dict[str, str]:
        """Every hash Civitai records, upper case hex: AutoV1, AutoV2, AutoV3, SHA256, CRC32, BLAKE3.

        https://developer.civitai.com/site/reference/model-versions. The first three are older tools'
        hashes: AutoV1 are 8 digits of the SHA-256 of 64 KiB from 1 MiB on, so that all smaller files
        share one; AutoV2 are 10 digits of the SHA-256 of the file
        (https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/sd_models.py);
        AutoV3, of safetensors only, are 12 digits of the SHA-256 of what follows the header
        (https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/hashes.py).
        """
        from blake3 import blake3  # compiled, and needed by few of the hub's users

        content = self.content
        hashes = {
            "AutoV1": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
            "AutoV2": self.sha256[:10],
            "SHA256": self.sha256,
            "CRC32": f"{zlib.crc32(content):08x}",
            "BLAKE3": blake3(content).hexdigest(),
        }
        if self.name.endswith(".safetensors"):
            tensors = 8 + int.from_bytes(content[:8], "little")
            hashes["AutoV3"] = hashlib.sha256(content[tensors:]).hexdigest()[:12]
        return {kind: value.upper() for kind, value in hashes.items()}
