"""What a refresh will take: measured rates and arithmetic. Nothing here measures, reads or writes."""
