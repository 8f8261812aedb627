"""A board: many runs on shared samples, one table; ranks with the range that the data allow."""
