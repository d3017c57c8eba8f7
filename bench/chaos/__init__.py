"""Chaos for real: a queue with real users and real sshd nodes, while everything is killed, stopped and cut."""
