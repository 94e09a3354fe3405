"""YES, NO and UNKNOWN. Owns the rule that an answer is never tested for truth."""

import enum
from typing import TYPE_CHECKING, NoReturn


class NotABooleanError(TypeError):
    """Somebody wrote `if answer:`. Compare with `is` instead: unknown is not no, and a failure is not false."""


class _NoTruth:
    """Whatever inherits this raises when tested for truth; mypy's truthy-bool reports it before that."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __bool__(self) -> NoReturn:
            raise NotABooleanError(f"{type(self).__name__} cannot be tested for truth: compare it")


class Answer(_NoTruth, enum.Enum):
    """An answer to a question about the world."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Outcome(_NoTruth, enum.Enum):
    """How a plugin's call or a step ended. UNCERTAIN: it was sent and its effect is not known."""

    SUCCESS = "SUCCESS"
    FAIL = "FAIL"
    UNCERTAIN = "UNCERTAIN"
