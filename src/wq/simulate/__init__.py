"""Replays of workloads through the planner, on virtual time."""
