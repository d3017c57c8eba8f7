"""What is made from the source for its readers: manual pages, the reference."""
