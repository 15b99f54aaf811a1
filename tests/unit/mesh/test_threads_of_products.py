"""Products of numpy keep to one thread in a process of DAC; threads that spin after each would take a processor."""

import os
import subprocess
import sys

PROGRAM = """
import mesh, numpy, os
rows = numpy.ones((4000, 384), "f4")
rows @ rows[0]
print(len(os.listdir("/proc/self/task")))
"""


def threads(**settings):
    """How many threads a process has after a product."""
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    return int(
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**kept, **settings}, capture_output=True, check=True
        ).stdout
    )


def test_a_product_takes_one_thread():
    assert threads() == 1


def test_an_operator_may_say_otherwise():
    assert threads(OPENBLAS_NUM_THREADS="2") == min(2, os.cpu_count() or 1)
