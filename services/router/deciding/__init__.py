"""One decision: who may answer, who should, and why."""
