"""``python -m bench``: finding and starting. ``python -m bench download``: downloading;
``python -m bench resolving``: finding online."""

from __future__ import annotations

import sys

from .report import machine


def main(topics: list[str]) -> None:
    print(machine(), flush=True)
    for topic in topics or ["finding", "starting"]:
        if topic == "finding":
            from . import finding

            finding.run()
        elif topic == "starting":
            from . import starting

            starting.run()
        elif topic == "download":
            from . import download

            download.run()
        elif topic == "resolving":
            from . import resolving

            resolving.run()
        else:
            raise SystemExit(f"There is no topic {topic!r}. Topics: finding, starting, download, resolving.")


if __name__ == "__main__":
    main(sys.argv[1:])
