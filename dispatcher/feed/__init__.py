"""file → Schedule: reading, validating, comparing and watching the schedule file."""
