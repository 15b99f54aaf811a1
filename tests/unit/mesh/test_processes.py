"""Programs that die with their parent: how they are started."""

import os
import pathlib
import signal
import subprocess
import sys

import psutil

from mesh.processes import spawn

ROOT = pathlib.Path(__file__).resolve().parents[3]
BESIDE_BLAS = """
import pathlib, signal, sys, threading, time
import numpy as np
from mesh.processes import spawn

matrix = np.ones((100, 100), np.float32)

def work():
    while True:
        matrix @ matrix

threading.Thread(target=work, daemon=True).start()
for _ in range(100):
    assert spawn(["true"], pathlib.Path(sys.argv[1]), signal.SIGTERM).wait() == 0
    time.sleep(0.001)
print("a hundred")
"""


def test_a_start_never_waits_for_threads_that_calculate(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", BESIDE_BLAS, str(tmp_path / "log")]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "4"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "a hundred\n"), done.stderr


def test_a_program_that_is_not_there_says_so_in_the_log(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    assert spawn([str(tmp_path / "nothing"), "argument"], log, signal.SIGTERM).wait() == 1
    assert log.read_text() == f"cannot run {tmp_path / 'nothing'}: No such file or directory\n"


def test_a_program_keeps_its_arguments_its_id_and_its_own_session(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    script = 'echo "$# $1 $2"; exec sleep 600'
    child = spawn(["sh", "-c", script, "sh", "a b", ""], log, signal.SIGKILL)
    try:
        while log.read_text() != "2 a b \n":
            assert child.poll() is None, log.read_text()
        assert os.getsid(child.pid) == child.pid and psutil.Process(child.pid).cwd() == "/"
    finally:
        child.kill()
        child.wait()
