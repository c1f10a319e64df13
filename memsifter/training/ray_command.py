"""Run a command on a machine of a running Ray cluster that has the GPUs it needs, and end with its exit code.

python -m memsifter.training.ray_command --address 10.0.0.1:6379 --gpus 8 --variables VERL_PLATFORM,… -- COMMAND …

The machines see this repository under the same path. What the command prints appears here.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memsifter.io.paths import ROOT
from memsifter.io.process import die_with_parent


def run_on_cluster(address: str, gpus: int, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of the command, which ends when this process ends. Exits where no machine has the GPUs.

    Args:
        address: of the cluster, as `cluster.address`.
        gpus: as many GPUs of one machine are the command's alone.
        command: the program and its arguments.
        environment: variables that it gets beside those of that machine.
    """
    import ray

    ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    if problem := find_shortage(ray.nodes(), gpus):
        sys.exit(problem)

    @ray.remote(num_gpus=gpus, num_cpus=gpus, max_retries=0)  # type: ignore[untyped-decorator]
    def run() -> int:
        with subprocess.Popen(  # noqa: S603 - our own command line, no shell
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=die_with_parent(signal.SIGTERM),
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
        return process.returncode

    code: int = ray.get(run.remote())
    return code


def find_shortage(nodes: Iterable[Mapping[str, Any]], gpus: int) -> str | None:
    """One line where no machine has what the command needs, for which Ray would wait silently and for ever.

    Args:
        nodes: as `ray.nodes` describes them.
        gpus: GPUs, and as many CPUs, that one machine must have.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    if any(machine.get("GPU", 0) >= gpus and machine.get("CPU", 0) >= gpus for machine in machines):
        return None
    found = ", ".join(f"{machine.get('GPU', 0):g} and {machine.get('CPU', 0):g}" for machine in machines) or "none"
    return (
        f"no machine of the cluster has {gpus} GPUs and {gpus} CPUs (GPUs and CPUs of each: {found}); lower "
        "train.gpus_per_node or name another cluster"
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--variables", required=True, help="names, with commas between them")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    environment = {name: os.environ[name] for name in options.variables.split(",")}
    sys.exit(run_on_cluster(options.address, options.gpus, options.command, environment))


if __name__ == "__main__":
    main()
