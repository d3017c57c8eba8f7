"""The whole of the queue's sense: pure, without clock, dice, files, sockets or logs."""
