"""Checks the stretches of a log in processes beside each other, and joins them in order.

Such a process is told over its standard input where stretches come from, then which ones, and answers each on its
standard output.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from mesh.tlog.frames import STRETCH
from mesh.tlog.stretches import BrokenStream, Stretch, StretchCheck
from mesh.tlog.tiles import WIDTH
from mesh.tlog.verification import Verification

STRETCH_ENTRIES = 128 * WIDTH
"""Of one stretch: at half a second each, whoever is behind is waited for no longer than that."""
MOST_PROCESSES = 2
"""More would take the connections to the database from those who store what happens meanwhile."""
AHEAD = 4
"""For each process, so many stretches are gathered behind one that is not there yet."""
# They import from where this process does, and from nowhere else.
_BEGIN = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
Source = Callable[[int, int], Iterable[bytes]]
"""The frames of the entries from, up to but without. It goes to another process, so it has to be picklable."""


class NoStretches(Exception):
    """Who has the log hands it out as a whole only: it is of an earlier version."""


class CheckerEnded(Exception):
    """A process that checked a stretch has ended: nothing is known of its stretch."""


class _Asked(NamedTuple):
    """What a process is told first."""

    source: Source
    kept_size: int


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_stretch(source: Source, first: int, end: int, kept_size: int) -> Stretch:
    """Reads and checks a stretch. Raises BrokenStream, NoStretches, and what the source raises."""
    bounds = 0

    def bound(data: bytes, at: int) -> int:
        nonlocal bounds
        if len(data) - at < STRETCH.size:
            return 0
        if STRETCH.unpack_from(data, at)[1:] != (first, end):
            raise BrokenStream("another stretch came than the one that was asked for")
        bounds += 1
        return at + STRETCH.size

    def whole_log(data: bytes, at: int) -> int:
        raise NoStretches("the whole log came instead of a stretch")

    check = StretchCheck(first, kept_size, {ord("S"): bound, ord("C"): whole_log})
    for part in source(first, end):
        check.feed(part)
    if bounds != 2 or not check.is_between_frames:
        raise BrokenStream("the log's stream broke off")
    return check.cut(is_last=True)


def join_stretches(verification: Verification, source: Source, size: int, processes: int) -> Iterator[int]:
    """Joins the whole tiles of a log of `size` entries from what is due on; after each stretch, how many that makes.

    Raises BrokenStream, NoStretches, CheckerEnded, and what the source raises. The verification is still to be fed with
    what is behind these tiles.
    """
    last = size // WIDTH * WIDTH
    bounds = [(first, min(first + STRETCH_ENTRIES, last)) for first in range(verification.due, last, STRETCH_ENTRIES)]
    with _Checkers(min(processes, len(bounds)), _Asked(source, verification.kept_size)) as checkers:
        there: dict[int, Stretch] = {}
        asked = joined = 0
        while joined < len(bounds):
            while checkers.idle and asked < min(len(bounds), joined + AHEAD * processes):
                checkers.ask(*bounds[asked])
                asked += 1
            for stretch in checkers.answers():
                there[stretch.first] = stretch
            while joined < len(bounds) and bounds[joined][0] in there:
                verification.join(there.pop(bounds[joined][0]), bounds[joined][1])
                joined += 1
                yield verification.entries


class _Checkers:
    """The processes."""

    def __init__(self, count: int, asked: _Asked) -> None:
        self._selector = selectors.DefaultSelector()
        self._all: list[subprocess.Popen[bytes]] = []
        self.idle: list[subprocess.Popen[bytes]] = []
        self._count, self._asked = count, asked

    def __enter__(self) -> _Checkers:
        command = [sys.executable, "-P", "-c", _BEGIN, *sys.path]
        for _ in range(self._count):
            checker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._all.append(checker)
            self._selector.register(_open(checker.stdout), selectors.EVENT_READ, checker)
            self._tell(checker, self._asked)
            self.idle.append(checker)
        return self

    def __exit__(self, *_: object) -> None:
        for checker in self._all:
            checker.kill()
            checker.wait()
            _open(checker.stdout).close()
            with contextlib.suppress(BrokenPipeError):
                _open(checker.stdin).close()
        self._selector.close()

    def ask(self, first: int, end: int) -> None:
        """Gives an idle process a stretch."""
        self._tell(self.idle.pop(), (first, end))

    def answers(self) -> Iterator[Stretch]:
        """What is answered next."""
        for key, _ in self._selector.select():
            checker: subprocess.Popen[bytes] = key.data
            try:
                answer = pickle.load(_open(checker.stdout))
            except (EOFError, pickle.UnpicklingError):
                raise _ended(checker) from None
            if isinstance(answer, Exception):
                raise answer
            self.idle.append(checker)
            yield answer

    @staticmethod
    def _tell(checker: subprocess.Popen[bytes], what: object) -> None:
        try:
            pickle.dump(what, _open(checker.stdin))
            _open(checker.stdin).flush()
        except BrokenPipeError:
            raise _ended(checker) from None


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _ended(checker: subprocess.Popen[bytes]) -> CheckerEnded:
    with contextlib.suppress(subprocess.TimeoutExpired):
        checker.wait(timeout=1)
    return CheckerEnded(f"a process that checked a part of it has ended (status {checker.returncode})")


def main() -> None:
    """Answers until nobody asks any more."""
    # Whoever asks is interrupted, too, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    asked: _Asked = pickle.load(questions)
    while True:
        try:
            first, end = pickle.load(questions)
        except EOFError:
            return
        answer: Any
        try:
            answer = check_stretch(asked.source, first, end, asked.kept_size)
        except Exception as error:
            # Whatever it was: whoever asked says so instead of this process.
            answer = error
        pickle.dump(answer, answers)
        answers.flush()
