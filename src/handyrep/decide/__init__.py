"""Decisions: pure functions and tables from what was seen to what should be done.

No clock, no I/O, no await, no logging: what is decided here can be simulated, replayed and shown.
"""
