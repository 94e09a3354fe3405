"""Reads handyrep.conf. Every mistake is found in one go and named with its section, key, line and what would be right.

Must never raise for what a file contains, nor show a password.
"""

import dataclasses
import stat
from pathlib import Path
from types import MappingProxyType

from handyrep.config import legacy
from handyrep.config.assemble import Assembly, Origins
from handyrep.config.contradictions import contradictions, oddities
from handyrep.config.findings import Findings
from handyrep.config.lines import Outline
from handyrep.config.settings import Settings
from handyrep.config.values import Values
from handyrep.errors import ConfigurationError

MAX_BYTES = 1_000_000
_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a reading. `settings` is None when there are problems; every finding is one sentence."""

    settings: Settings | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    origins: Origins


def load(file: Path) -> Settings:
    """The settings of a file. Raises ConfigurationError with every mistake in it."""
    loaded = read(file)
    if loaded.settings is None:
        raise ConfigurationError(loaded.problems, source=str(file))
    return loaded.settings


def read(file: Path) -> Loaded:
    """The settings of a file, or every mistake in it. Never raises."""
    text, problem, mode = _text_of(file)
    if problem:
        return Loaded(None, (problem,), (), MappingProxyType({}))
    return _loaded(text, str(file), exposed=bool(mode & _READABLE_BY_OTHERS))


def read_text(text: str, *, source: str = "") -> Loaded:
    """The same for a text."""
    return _loaded(text, source, exposed=False)


def _loaded(text: str, source: str, *, exposed: bool) -> Loaded:
    findings = Findings()
    outline = Outline(text, findings)
    values = Values(legacy.modernized(outline.sections, findings), findings)
    assembly = Assembly(values, source)
    for place, key, what in contradictions(assembly.settings):
        findings.problem(values.as_written(place), key, what, values.line_of(place, key))
    for place, key, what in oddities(assembly.settings):
        findings.warning(values.as_written(place), key, what, values.line_of(place, key))
    if exposed and values.holds_passwords:
        findings.warning(("passwords",), "", f"can be read by other accounts; run: chmod 600 {source}", None)
    kept = None if findings.problems else assembly.settings
    return Loaded(kept, findings.problems, findings.warnings, assembly.origins)


def _text_of(file: Path) -> tuple[str, str, int]:
    """(text, problem, mode): no text where there is a problem."""
    content = b""
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            return "", f"{file} is {'a folder, not handyrep.conf' if stat.S_ISDIR(mode) else 'no regular file'}", mode
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            return "", f"{file} is larger than {MAX_BYTES} bytes: that is no handyrep.conf", mode
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return "", f"line {line}: {file} is not text in UTF-8 ({error.reason})", 0
    except (OSError, ValueError) as error:
        return "", f"{file} cannot be read: {getattr(error, 'strerror', None) or error}", 0
    return text, f"{file} is not text: it contains zero bytes" if "\0" in text else "", mode
