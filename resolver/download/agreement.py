"""Whether what a server has is what was asked for."""

from __future__ import annotations

from ..errors import DownloadError
from ..net.probe import RemoteFile
from ..store import DownloadRow
from .verify import check_content_type


def agree(row: DownloadRow, remote: RemoteFile, *, has_part: bool) -> None:
    """Compare ``remote`` with what was asked for and what came before; note in ``row`` what is new.

    ``has_part``: ``size`` and ``sha256`` of the row are those of bytes that are here. Raises
    ``DownloadError``: ``NOT_A_MODEL``, ``HASH_MISMATCH``, ``SIZE_MISMATCH``; ``CHANGED_ON_SERVER`` where
    the part is of something else than the server has now.
    """
    check_content_type(remote.content_type, row.filename)
    if row.stated_sha256 and remote.sha256 and row.stated_sha256 != remote.sha256:
        raise DownloadError(
            "The server has another file than the one wanted: its SHA-256 is "
            f"{remote.sha256}, wanted is {row.stated_sha256}. Choose another source.",
            code="HASH_MISMATCH",
            expected=row.stated_sha256,
            found=remote.sha256,
        )
    proven = row.stated_sha256 is not None and row.stated_sha256 == remote.sha256
    if not proven and None not in (row.stated_size, remote.size) and row.stated_size != remote.size:
        raise DownloadError(
            f"The server's file has {remote.size} bytes, wanted are {row.stated_size}. Choose another "
            "source.",
            code="SIZE_MISMATCH",
            expected=row.stated_size,
            found=remote.size,
        )
    if has_part and (_differ(row.sha256, remote.sha256) or _differ(row.size, remote.size)):
        raise DownloadError(
            "The file on the server changed while it was downloaded. Look for it anew.",
            code="CHANGED_ON_SERVER",
        )
    row.sha256 = row.sha256 or remote.sha256
    row.size = row.size if remote.size is None else remote.size


def _differ(known: object, new: object) -> bool:
    return known is not None and new is not None and known != new
