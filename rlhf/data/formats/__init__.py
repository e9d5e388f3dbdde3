"""Row formats: one small function each, which turns a row into a record, and one line each in the table of its kind."""
