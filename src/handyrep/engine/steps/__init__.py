"""What each stage of a failover or switchover does: by the plugins, and then a look. Never decides what comes next."""
