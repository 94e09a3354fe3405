"""What a plugin is, how it is found, configured, called and contained. Knows no single plugin by name."""
