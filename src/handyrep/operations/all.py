"""Importing this declares every operation."""

from handyrep.operations import actions, availability, information, servers
from handyrep.operations.declare import OPERATIONS

__all__ = ["OPERATIONS", "actions", "availability", "information", "servers"]
