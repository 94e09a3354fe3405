"""Frozen nouns: what HandyRep speaks of. No behaviour beyond what follows from a value itself; no I/O."""
