"""The parts of the soak that need no lab."""
