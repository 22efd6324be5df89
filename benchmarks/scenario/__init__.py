"""The whole system under load, one program per claim: ``python -m benchmarks.scenario --list``.

Each scenario brings up a Swarm of its own, deploys l7 as its users do, changes what runs on it while clients ask
without pause, and holds what they saw against a limit. A limit that is missed is said to be missed.
"""
