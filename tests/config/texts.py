"""Texts of handyrep.conf that tests start from."""

MINIMAL = """\
[handyrep]
cluster_name = test
[server_defaults]
pgdata = /data
[servers]
[[m1]]
hostname = m1.example
role = master
[[r1]]
hostname = r1.example
"""
"""The least that loads: a master and a replica."""
