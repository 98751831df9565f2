"""Inspection of what was published: statistics, SQL, checks, exports, the report. Needs no Ray."""
