"""Real failovers in the lab, one after the other, judged from what its clients were told."""
