"""Tables that are shipped, and the command that makes them: `python -m submanifold.dimension.tables`."""
