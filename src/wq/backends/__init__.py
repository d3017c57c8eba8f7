"""How a launcher reaches a node: through ssh, or not at all because it is this machine."""
