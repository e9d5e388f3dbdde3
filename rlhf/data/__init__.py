"""Examples: read from files or the hub, checked row by row, turned into tokens in one place."""
