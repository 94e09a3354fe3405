"""The catalogue of faults on real hosts: the names of its tests begin with the ids of what they show. The list is catalogue.txt.

`test_lives_on`: the master lives, and nobody may be promoted. `test_dies`: it does not. `test_replicas`: it dies while something is
wrong with the replicas; `test_proxied`: with the proxies. Each module has one cluster, and each test leaves it well.
"""
