"""From records to numbers: statistics, metrics, summaries, verdicts and comparisons."""
