"""Which pgbouncer.ini each pgbouncer is to have, with some server as the master. Raises PluginError: none can be made."""

import math
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from handyrep.model.server import Server
from handyrep.plugins._bouncer_before import longest_failover_s
from handyrep.plugins._bouncer_config import File, render, targets
from handyrep.plugins._bouncer_places import place_of, places, readers
from handyrep.plugins._templates import Template, find_template

if TYPE_CHECKING:
    from handyrep.plugins.multi_pgbouncer import multi_pgbouncer


def template_of(plugin: "multi_pgbouncer") -> Template:
    """The user's own, or HandyRep's."""
    return find_template(plugin.template, plugin.settings.handyrep.templates_dir)


def plans_of(plugin: "multi_pgbouncer", master: str, bouncers: Iterable[Server]) -> dict[str, File]:
    """By the pgbouncer's name."""
    return {bouncer.name: _plan(plugin, master, bouncer) for bouncer in bouncers}


def _plan(plugin: "multi_pgbouncer", master: str, bouncer: Server) -> File:
    cluster, settings = plugin.cluster, plugin.settings
    wanted = targets(
        plugin.database_list,
        place_of(plugin.server(master)),
        readers(cluster, master),
        suffix=plugin.readonly_suffix,
        all_replicas=plugin.all_replicas,
    )
    values = {
        "cluster_name": cluster.name,
        "epoch": cluster.epoch,
        "master": master,
        "port": bouncer.port,
        "admin_user": settings.passwords.pgbouncer_admin_user or settings.handyrep.handyrep_user,
        "folder": str(PurePosixPath(plugin.config_location).parent),
        "bouncer": bouncer.name,
        "longest_failover_s": math.ceil(longest_failover_s(settings.failover)),
    }
    return render(template_of(plugin).text, wanted, plugin.extra_connect_param, values, places(cluster, bouncer))
