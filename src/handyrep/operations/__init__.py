"""Every operation of HandyRep, declared once. CLI, socket, REST and library are made from these declarations.

Importing this package declares them all: no program can know some of them only.
"""

from handyrep.operations import (
    actions,
    availability,
    footprint,
    foresight,
    hindsight,
    information,
    maintenance,
    mastership,
    servers,
)
from handyrep.operations.declare import OPERATIONS

__all__ = [
    "OPERATIONS",
    "actions",
    "availability",
    "footprint",
    "foresight",
    "hindsight",
    "information",
    "maintenance",
    "mastership",
    "servers",
]
