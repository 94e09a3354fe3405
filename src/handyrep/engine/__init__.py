"""Observe, decide, act, look again. Holds no SQL, no shell command and no server path: plugins do the work."""
