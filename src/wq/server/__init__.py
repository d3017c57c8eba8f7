"""The server: one loop around the core, for one queue."""
