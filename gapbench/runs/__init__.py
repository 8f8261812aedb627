"""A run on disk: manifest, records, judgements, shards, throughput."""
