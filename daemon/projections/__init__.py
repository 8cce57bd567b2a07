"""What follows from what happened: pure folds of the log, the decisions they allow, and their tables."""
