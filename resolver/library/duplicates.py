"""Files of equal content, and the space that the copies take. Reports only; deletes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from . import LibraryFile
from .hashes import FileHashes, status_of


@dataclass(frozen=True)
class DuplicateGroup:
    """One content that lies on disk more than once.

    ``size``: bytes of one copy. ``copies``: how often it takes that space; several names of one file
    (hard links, symbolic links, folders that share a root) are one copy. ``files``: every name.
    """

    sha256: str
    size: int
    copies: int
    files: tuple[LibraryFile, ...]

    @property
    def wasted(self) -> int:
        """Bytes beyond the first copy."""
        return self.size * (self.copies - 1)


@dataclass(frozen=True)
class Duplicates:
    """``groups``: what wastes most first. ``unhashed``: files that may be copies as well, since another has
    their size, but whose content is not known yet."""

    groups: tuple[DuplicateGroup, ...]
    unhashed: int

    @property
    def wasted(self) -> int:
        return sum(group.wasted for group in self.groups)


def find_duplicates(files: Iterable[LibraryFile], hashes: FileHashes) -> Duplicates:
    """Group ``files`` by content as far as it is known. Blocks: it looks at each file."""
    by_path = {file.path: file for file in files}
    statuses = {path: status for path in by_path if (status := status_of(path)) is not None}
    identities = {path: (status.st_dev, status.st_ino or path) for path, status in statuses.items()}
    sizes = {identities[path]: status.st_size for path, status in statuses.items()}
    files_of_size = Counter(sizes.values())
    known = hashes.current(statuses)
    # A second name of a file whose content is known is known as well.
    content = {identities[path]: sha256 for path, sha256 in known.items()}

    paths_of: dict[str, list[str]] = defaultdict(list)
    for path, identity in identities.items():
        if identity in content:
            paths_of[content[identity]].append(path)
    groups = []
    for sha256, paths in paths_of.items():
        copies = len({identities[path] for path in paths})
        if copies > 1 and statuses[paths[0]].st_size:
            group = DuplicateGroup(
                sha256,
                statuses[paths[0]].st_size,
                copies,
                tuple(by_path[path] for path in sorted(paths)),
            )
            groups.append(group)
    groups.sort(key=lambda group: (-group.wasted, group.sha256))
    unhashed = sum(
        size > 0 and files_of_size[size] > 1 for identity, size in sizes.items() if identity not in content
    )
    return Duplicates(tuple(groups), unhashed)
