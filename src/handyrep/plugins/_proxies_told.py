"""What is told of all proxies together: which let people in, and which lead elsewhere than they should. Pure."""

from collections.abc import Mapping

from handyrep.model.answer import Outcome
from handyrep.model.result import Result, fail, success
from handyrep.plugins._at_once import together

SUCCESS = Outcome.SUCCESS


def let_in(said: Mapping[str, Result]) -> Result:
    """Of poll(): `servers` tells which do."""
    up = {name: result.outcome is SUCCESS for name, result in said.items()}
    return together(said, "lets people in", servers=up)


def led(said: Mapping[str, Result]) -> Result:
    """Of leads(): each that answered tells in its details what is wrong; those that did not are not asked about."""
    behind = {name: one.details for name, one in said.items() if one.outcome is SUCCESS and one.details}
    if behind:
        return fail("; ".join(f"{name}: {why}" for name, why in behind.items()), behind=behind)
    if any(one.outcome is SUCCESS for one in said.values()):
        return success("each that answers leads where it should")
    return together(said, "leads where it should")
