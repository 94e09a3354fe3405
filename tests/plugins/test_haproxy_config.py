"""haproxy.cfg is read back as HAProxy reads it: what could lead clients past the plan is refused."""

import pytest

from handyrep.errors import PluginError
from handyrep.plugins._haproxy_change import differs
from handyrep.plugins._haproxy_config import Plan, Slot, State, nobody, plan_of, render

M1, R1 = ("m1.example", 5432), ("fe80::1", 5433)
OURS = frozenset({M1, R1})
PLAN: Plan = plan_of(
    iter(
        [
            Slot("w", "m1", M1, State.READY), Slot("w", "r1", R1, State.MAINT),
            Slot("r", "m1", M1, State.DRAIN), Slot("r", "r1", R1, State.READY),
        ]
    )
)  # fmt: skip
SECTIONS = {"master_section": "w", "readers_section": "r"}
TEMPLATE = """listen w
{% for line in master_servers %}
  {{ line }}
{% endfor %}
listen r
{% for line in reader_servers %}
  {{ line }}
{% endfor %}
"""
EXACT = """listen w
  server m1 m1.example:5432
  server r1 [fe80::1]:5433 disabled
listen r
  server m1 m1.example:5432 disabled
  server r1 [fe80::1]:5433
"""


def text_of(template: str, extra: str = "") -> str:
    return render(template, PLAN, SECTIONS, OURS, extra)


def test_who_gets_clients_stands_in_the_file_for_a_haproxy_that_starts() -> None:
    assert text_of(TEMPLATE) == EXACT
    assert render(TEMPLATE, nobody(PLAN), SECTIONS, OURS).count(" disabled") == len(PLAN)
    assert text_of(TEMPLATE, "check inter 1s").count(" check inter 1s\n") == len(PLAN)


PAST_THE_PLAN = {
    "a server is missing": EXACT.replace("  server r1 [fe80::1]:5433 disabled\n", ""),
    "one gets clients": EXACT.replace(" disabled", "", 1),
    "one gets none": EXACT.replace("m1.example:5432\n", "m1.example:5432 disabled\n", 1),
    "another address": EXACT.replace("m1.example:5432\n", "m1.example:5433\n", 1),
    "a server too many": EXACT + "  server x elsewhere:1\n",
    "one twice": EXACT.replace("listen r", "  server m1 m1.example:5432\nlisten r"),
    "in two parts": EXACT + "backend w\n  server x elsewhere:1\n",
    "in another section": EXACT + "backend other\n  server x m1.example:5432\n",
    "by a variable": EXACT + 'backend other\n  server x "${M1}:5432"\n',
    "by a rule": EXACT + "  use-server m1 if TRUE\n",
    "to another section": EXACT + "  use_backend other\n",
    "by a template of servers": EXACT + "  server-template x 3 m1.example:5432\n",
    "by a default": EXACT + "  default-server disabled\n",
    "as it was before": "global\n  server-state-file /x\n" + EXACT,
    "as a condition has it": EXACT + ".if defined(X)\n",
    "a quote that is not closed": EXACT + '  option "x\n',
    "nothing": " ",
}  # fmt: skip


@pytest.mark.parametrize("name", PAST_THE_PLAN)
def test_what_could_lead_clients_past_the_plan_is_refused(name: str) -> None:
    with pytest.raises(PluginError):
        text_of(PAST_THE_PLAN[name])


@pytest.mark.parametrize("extra", ["disabled", "x # y"])
def test_what_is_added_to_each_line_changes_nothing_of_the_plan(extra: str) -> None:
    if extra == "disabled":
        with pytest.raises(PluginError, match="not as planned"):
            text_of(TEMPLATE, extra)
    else:
        assert " x # y\n" in text_of(TEMPLATE, extra)


def test_other_servers_comments_and_sections_are_the_templates_own() -> None:
    more = "# server x m1.example:5432\nbackend web\n  server x elsewhere:80\n  use_backend y\n"
    assert text_of(EXACT + more) == EXACT + more


@pytest.mark.parametrize(
    "slot",
    [
        Slot("a b", "m1", M1, State.READY),
        Slot("w", "m 1", M1, State.READY),
        Slot("w", "m1\n", M1, State.READY),
        Slot("w", "ä", M1, State.READY),
        Slot("w", "m1", ("a b", 1), State.READY),
        Slot("w", "m1", ("", 1), State.READY),
        Slot("w", "m1", ("x\n  server y z:1", 1), State.READY),
    ],
)
def test_a_name_that_haproxy_cannot_have_is_refused(slot: Slot) -> None:
    with pytest.raises(PluginError, match="cannot be"):
        plan_of(iter([slot]))


def test_only_what_is_not_told_to_a_running_haproxy_makes_a_file_another_one() -> None:
    assert not differs("# epoch 1\n" + EXACT, render(TEMPLATE, nobody(PLAN), SECTIONS, OURS))
    assert differs(EXACT, EXACT + "  balance leastconn\n")
    assert differs(EXACT, EXACT.replace("5433", "5434"))
