"""Looking into what was published: statistics, SQL, checks, exports, the report. Reads everything, needs no Ray."""
