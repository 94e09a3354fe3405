"""handyrep.conf: what may stand in it, how it is read, and what it comes to."""
