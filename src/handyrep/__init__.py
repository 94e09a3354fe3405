"""HandyRep: PostgreSQL high availability with nothing to install on the database servers.

`from handyrep import HandyRep` (plain code) or `AsyncHandyRep` (asyncio) is the library; plugins import only what they need.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["AsyncHandyRep", "HandyRep", "__version__"]

if TYPE_CHECKING:
    from handyrep.surfaces.library import AsyncHandyRep, HandyRep


def __getattr__(name: str) -> object:
    """The library is loaded when it is first asked for: a plugin that imports its parent must not load everything."""
    if name in ("AsyncHandyRep", "HandyRep"):
        from handyrep.surfaces import library  # noqa: PLC0415 - see above

        return getattr(library, name)
    raise AttributeError(f"module 'handyrep' has no attribute {name!r}")
