"""The server's disk."""
