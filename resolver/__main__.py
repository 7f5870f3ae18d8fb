"""``python -m resolver``: the command line, from a checkout."""

from .cli import main

raise SystemExit(main())
