"""The launcher: one per user and queue; starts that user's jobs, as that user, with that user's ssh."""
