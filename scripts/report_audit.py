"""Report what pip-audit found: `python -m scripts.report_audit REPORT.json LOG`.

Fails for known vulnerabilities. Prints SKIPPED with the reason if the data on them cannot be reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def main(report: Path, log: Path) -> int:
    """Print the findings and return the exit code."""
    if not report.exists():
        reason = log.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["pip-audit wrote no report"]
        print(f"SKIPPED: known vulnerabilities: {reason[0]}")
        return 0
    lines, code = findings(json.loads(report.read_text(encoding="utf-8"))["dependencies"])
    print("\n".join(lines))
    return code


def findings(dependencies: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """The lines to print, and the exit code: 1 for a known vulnerability."""
    skipped = [package for package in dependencies if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in dependencies
        for vulnerability in package.get("vulns", ())
    ]
    code = 1 if lines else 0
    audited = len(dependencies) - len(skipped)
    lines.append(f"known vulnerabilities: {len(lines)} in {audited} of {len(dependencies)} packages")
    if skipped:
        lines.append(
            f"SKIPPED: {len(skipped)} packages, because their data is not available: {skipped[0]['skip_reason']}"
        )
    return lines, code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
