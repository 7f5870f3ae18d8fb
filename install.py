"""What ComfyUI Manager runs after cloning: installs what requirements.txt names and is not here yet.

Uses the interpreter it runs in, says what it did, and may be run again at any time.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")


def requirement_lines(path: Path) -> list[str]:
    """The requirements of a file, without comments."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def is_satisfied(line: str) -> bool:
    """Whether an installed package satisfies a requirement."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    requirement = Requirement(line)
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def installer() -> list[str]:
    """The command that installs packages for this interpreter: pip, or uv where there is no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    return ["uv", "pip", "install", "--python", sys.executable]


def main() -> int:
    missing = [line for line in requirement_lines(REQUIREMENTS) if not is_satisfied(line)]
    if not missing:
        print("[Model Resolver] Everything needed is installed already.")
        return 0
    print(f"[Model Resolver] Installing {', '.join(missing)} …", flush=True)
    try:
        outcome = subprocess.run([*installer(), *missing], check=False).returncode
    except OSError as error:
        print(f"[Model Resolver] Neither pip nor uv can be run: {error}", file=sys.stderr)
        return 1
    if outcome != 0:
        print(
            "[Model Resolver] Installing failed. If this machine is offline, connect it and run this again:\n"
            f"    {sys.executable} {Path(__file__).resolve()}",
            file=sys.stderr,
        )
        return 1
    print(f"[Model Resolver] Installed {', '.join(missing)}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
