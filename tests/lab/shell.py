"""Runs programs on this machine for the lab. A failure says what was run and what it said."""

import subprocess
from collections.abc import Mapping


class LabError(RuntimeError):
    """The lab could not be made or changed as a test asked."""


def run(
    *argv: str, stdin: str = "", check: bool = True, timeout_s: float = 60.0, env: Mapping[str, str] | None = None
) -> str:
    """Its standard output. Raises LabError when it fails, unless check is False."""
    try:
        ran = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)} did not end within {timeout_s:g} s") from None
    if check and ran.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {ran.returncode}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout
