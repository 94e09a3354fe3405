"""Make the generated pages again: the sample configuration, the reference of directives, the pages of plugins and safety."""

from pathlib import Path

from tests.mutation.page import chapter

from handyrep.config.reference import reference
from handyrep.config.sample import sample
from handyrep.decide.docs import page as safety
from handyrep.plugin_api.docs import page

ROOT = Path(__file__).parents[1]
PAGES = {
    "examples/handyrep.conf": sample,
    "docs/configuration.md": reference,
    "docs/plugins.md": page,
    "docs/safety.md": lambda: f"{safety()}\n{chapter()}",
}

for name, make in PAGES.items():
    file = ROOT / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(make(), encoding="utf-8")
    print(f"wrote {name}")
