"""An input file for ``aria2c -i`` (https://aria2.github.io/manual/en/html/aria2c.html#input-file).

One line of URLs of one file, with tabs between them; then its options, a line each, after a space.
A line ends a value and nothing else does, and names and URLs have no line ends and no tabs.
"""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import basename, dirname

from ..errors import BadInput, UnsafeName
from .item import Item, in_ascii

_HEAD = """\
# Fetches models into the folders of ComfyUI; in its directory:  aria2c -c -i FILE
# -c goes on with what was interrupted. Until it is whole, a file has its .aria2 beside it.
"""


def check(item: Item) -> None:
    """Raises ``BadInput`` for what aria2 cannot fetch: ``TOKEN_NEEDED``, ``NAME_UNSAFE``."""
    if item.needs is not None:
        # It would send a header that it is given to every host of a redirect.
        raise BadInput("It needs a token, which aria2 cannot keep. Use another format.", code="TOKEN_NEEDED")
    if "${HOME}" in item.path:
        # In values that are paths it puts the home directory there, and knows no escape.
        raise UnsafeName("aria2 takes ${HOME} in its name for a directory. Use another format.")


def write(items: Sequence[Item], remarks: Sequence[str]) -> str:
    lines = [f"# Left out: {in_ascii(remark)}" for remark in remarks]
    for item in items:
        place = f"models/{item.path}"
        lines.append("\t".join(item.urls))
        lines += [f" dir={dirname(place)}", f" out={basename(place)}"]
        if item.sha256 is not None:
            lines.append(f" checksum=sha-256={item.sha256}")
        lines += [" allow-overwrite=false", " auto-file-renaming=false"]
    return _HEAD + "\n".join([*lines, ""])
