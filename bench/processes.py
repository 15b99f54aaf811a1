"""What a process tree uses: CPU-milliseconds and memory, databases and detached children included.

A tree is found three ways, because embedded servers run in sessions of their own and PostgreSQL overwrites its
backends' environment: by the environment marker `DAC_BENCH_RUN=<id>`, by the run's data folder on the command line,
and by descent from anything found so.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.load import percentile

MARKER = "DAC_BENCH_RUN"


def postgres_cpu_ms(postmaster: int) -> float:
    """What the server's processes have spent, those that ended included."""
    root = psutil.Process(postmaster)
    spent = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        spent += times.user + times.system
        if process.pid == postmaster:
            spent += times.children_user + times.children_system
    return spent * 1000


@dataclass(frozen=True)
class Usage:
    """Counters and sizes at one moment; `parts_cpu_ms` splits the CPU by kind of process."""

    cpu_ms: float
    model_cpu_ms: float
    rss_mb: float
    pss_mb: float
    model_rss_mb: float
    model_pss_mb: float
    processes: int
    parts_cpu_ms: dict[str, float] = field(default_factory=dict)


class ProcessTree:
    """All processes of one measured system."""

    def __init__(self, run_id: str, root_pid: int, folder: pathlib.Path) -> None:
        self._marker = f"{MARKER}={run_id}".encode()
        self._root_pid = root_pid
        self._folder = str(folder)

    def find(self) -> list[psutil.Process]:
        """The processes alive now; never this program itself."""
        children: dict[int, list[int]] = {}
        known: dict[int, psutil.Process] = {}
        wanted: list[int] = []
        for process in psutil.process_iter():
            try:
                children.setdefault(process.ppid(), []).append(process.pid)
                known[process.pid] = process
                if process.pid == self._root_pid or self._is_ours(process):
                    wanted.append(process.pid)
            except psutil.Error:
                continue
        found: dict[int, psutil.Process] = {}
        while wanted:
            pid = wanted.pop()
            if pid in found or pid not in known or pid == os.getpid():
                continue
            found[pid] = known[pid]
            wanted += children.get(pid, [])
        return list(found.values())

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(OSError):
            if self._marker in pathlib.Path(f"/proc/{process.pid}/environ").read_bytes():
                return True
        return any(self._folder in argument for argument in process.cmdline())

    def usage(self, *, memory: bool = True) -> Usage:
        """Sum over the tree. A process that ended is in its parent's children's times."""
        cpu_ms = model_cpu_ms = 0.0
        sizes = {"rss": 0.0, "pss": 0.0, "model_rss": 0.0, "model_pss": 0.0}
        parts: dict[str, float] = {}
        processes = self.find()
        for process in processes:
            try:
                times = process.cpu_times()
                spent_ms = 1000 * (times.user + times.system + times.children_user + times.children_system)
                model = _holds_model(process.pid)
                part = "model" if model else _part_of(process)
                full = process.memory_full_info() if memory else None
            except psutil.Error:
                continue
            parts[part] = parts.get(part, 0.0) + spent_ms
            if model:
                model_cpu_ms += spent_ms
            else:
                cpu_ms += spent_ms
            if full is not None:
                prefix = "model_" if model else ""
                sizes[prefix + "rss"] += full.rss / 1e6
                sizes[prefix + "pss"] += full.pss / 1e6
        return Usage(
            cpu_ms=cpu_ms,
            model_cpu_ms=model_cpu_ms,
            rss_mb=sizes["rss"],
            pss_mb=sizes["pss"],
            model_rss_mb=sizes["model_rss"],
            model_pss_mb=sizes["model_pss"],
            processes=len(processes),
            parts_cpu_ms=parts,
        )

    def kill(self) -> None:
        """End whatever of the tree is still there."""
        for _ in range(3):
            processes = self.find()
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not processes or not psutil.wait_procs(processes, timeout=3)[1]:
                break


def _holds_model(pid: int) -> bool:
    """Whether the process has an embedded model's weights mapped."""
    try:
        return b".gguf" in pathlib.Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return False


def _part_of(process: psutil.Process) -> str:
    name = process.name().lower()
    for part in ("postgres", "valkey", "redis", "envoy", "node"):
        if part in name:
            return part
    # Split services are told apart by what `serve` was asked for.
    arguments = process.cmdline()
    if "--target" in arguments[:-1]:
        return arguments[arguments.index("--target") + 1]
    return "python" if "python" in name else name


def fsync_ms(folder: pathlib.Path, rounds: int = 200) -> dict[str, float]:
    """How long the folder's filesystem takes to make one 8 KiB page durable (as a database does): p50 and p99."""
    path = folder / "fsync-probe"
    times_ms: list[float] = []
    with path.open("wb", buffering=0) as probe:
        probe.write(bytes(8192 * 64))
        os.fsync(probe.fileno())
        for index in range(rounds):
            probe.seek(8192 * (index % 64))
            probe.write(os.urandom(8192))
            started = time.perf_counter()
            os.fdatasync(probe.fileno())
            times_ms.append((time.perf_counter() - started) * 1000)
    path.unlink()
    return {"p50": round(percentile(times_ms, 0.5), 3), "p99": round(percentile(times_ms, 0.99), 3)}


def machine(folder: pathlib.Path) -> dict[str, Any]:
    """What figures depend on besides the program; `folder` is on the disk that they were measured on."""
    model = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "load_average_1min": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fsync_ms": fsync_ms(folder),
    }


def _cpuinfo() -> list[str]:
    try:
        return pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
