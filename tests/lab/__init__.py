"""The lab: real Debian hosts under systemd, each in namespaces of its own, with real PostgreSQL, sshd and sudo."""
