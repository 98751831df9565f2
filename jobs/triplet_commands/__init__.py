"""The commands of jobs.triplets, one file each: flags in, an answer out. What they do is in pipeline/inspection."""
