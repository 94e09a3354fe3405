"""What the replicas said when none of them could receive anything more: where they stand is not asked again while nothing can move them."""

from handyrep.model.observation import Picture
from handyrep.ports import Clock

_HOLDS_FOR_S = 0.25
"""No longer than it takes to judge it, and to write down what follows from it."""


class Standing:
    """The look of the stage freeze, for the stages that come right after it. Nothing is kept over a restart of HandyRep."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._picture: Picture | None = None
        self._at = 0.0

    def keep(self, picture: Picture) -> None:
        """A look that began after all of them could receive nothing more."""
        self._picture, self._at = picture, self._clock.monotonic()

    def void(self) -> None:
        """One may move: it was told something, or is about to be given WAL."""
        self._picture = None

    @property
    def still(self) -> Picture | None:
        """Where they stand, if that was seen just now and holds."""
        return self._picture if self._clock.monotonic() - self._at <= _HOLDS_FOR_S else None
