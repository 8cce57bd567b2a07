"""What happened: the vocabulary (`types`), its bytes (`codec`) and the log that keeps it (`log`)."""
