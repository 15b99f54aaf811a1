"""`python -m bench.budget`: what budgets hold under a race and a kill, and how fast they are."""

import os

# It says so at every process that is started and every one that was killed, which is what this bench does.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
