"""The outside world: SSH, local commands, PostgreSQL, files, time. Implements the ports and turns libraries' errors into ours."""
