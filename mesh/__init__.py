"""The ground every DAC service stands on: one table of services, one transport, one way to fail.

It owns no business: nothing here knows what a budget or a model's answer is. Only `mesh.app` knows the services.
"""

import os

# Before anybody loads numpy: its library of products starts a thread for each processor, and each of them spins for
# milliseconds after every product, on processors that PostgreSQL and the embedder need. What we multiply is too small
# to gain by them. An operator's own value counts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
