"""The product: triplet shards in Parquet, what was left out and why, and which labels are neighbours."""
