"""Every operation of HandyRep, declared once. CLI, socket, REST and library are made from these declarations."""
