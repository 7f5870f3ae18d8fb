#!/usr/bin/env bash
# Makes the virtual environment with the package (editable) and the development tools.
set -euo pipefail
python=$1 venv=$2

"$python" - <<'PY'
import sys
if sys.version_info < (3, 10):
    raise SystemExit(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}. Set PYTHON=…")
PY

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# Dependency groups (PEP 735) are understood by pip since 25.1.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable . --group dev --group bench
