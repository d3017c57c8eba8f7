"""The words between client, launcher and server, and their bytes. No sockets here."""
