"""What a refresh will take: measured rates (`measure`) times counts."""
