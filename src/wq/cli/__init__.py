"""What people type. The common path imports the standard library only: a start costs milliseconds."""
