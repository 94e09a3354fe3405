"""How people and programs reach the operations: command line, control socket, library. No logic of their own."""
