"""The HTML report: a file that shows a run's generations, its training, its triplets and its quarantine."""
