"""Reading the library again: is each file still what it was?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .download.verify import check_structure
from .errors import DownloadError
from .library import LibraryFile
from .library.hashes import FileHashes
from .library.reading import FileChanged, Turn, read_sha256
from .store import Store

Verdict = Literal["ok", "sound", "damaged", "unreadable"]


@dataclass(frozen=True)
class Verified:
    """``verdict``: ``ok`` has the SHA-256 it had; ``sound``: nobody knew that, but its format is in order;
    ``damaged``: neither; ``unreadable``: it could not be read to its end, or is being written to.

    ``expected``: the SHA-256 it should have, ``sha256`` the one it has. ``reason``: what is wrong.
    """

    file: LibraryFile
    verdict: Verdict
    sha256: str | None = None
    expected: str | None = None
    reason: str | None = None


def verify(files: Iterable[LibraryFile], hashes: FileHashes, store: Store, turn: Turn) -> Iterator[Verified]:
    """Read each file and compare it with what was downloaded and with what was last read, then its format.

    A sound file's hash is kept, a damaged one's is not. ``turn``: see ``read_sha256``.
    """
    downloaded: dict[str, str] = {}
    for row in sorted(store.downloads(), key=lambda row: row.seq):
        if row.status == "completed" and row.sha256:
            downloaded[row.path] = row.sha256
    once = {file.path: file for file in files}
    former = hashes.former(once)
    for path, file in once.items():
        yield _verify(file, downloaded.get(path), former.get(path), hashes, turn)


def _verify(
    file: LibraryFile, downloaded: str | None, former: str | None, hashes: FileHashes, turn: Turn
) -> Verified:
    try:
        sha256, status = read_sha256(file.path, turn)
        for expected, known in ((downloaded, "downloaded"), (former, "last read")):
            if expected is not None and expected != sha256:
                reason = f"its content is not what was {known}"
                return Verified(file, "damaged", sha256, expected, reason)
        check_structure(Path(file.path), file.name, whole=True)
    except FileChanged:
        return Verified(file, "unreadable", reason="it is being written to")
    except OSError as error:
        return Verified(file, "unreadable", reason=error.strerror or str(error))
    except DownloadError as error:
        return Verified(file, "damaged", sha256, reason=error.message)
    hashes.remember(file.path, status, sha256)
    expected = downloaded or former
    return Verified(file, "ok" if expected else "sound", sha256, expected)
