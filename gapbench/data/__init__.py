"""From benchmark files to samples."""
