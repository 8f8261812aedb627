"""Two or more runs on the samples that they share."""
