"""What completes the MLflow record: `python -m memsifter.tracking sync|experiments|uri`.

`sync`, after `dvc repro`: record the stages that did not have to run. `experiments`, after `dvc exp run`: the figures
of experiments whose evaluation came from DVC's run-cache. `uri`: where runs are recorded.
"""

import sys

from memsifter.command import command
from memsifter.params import load_params


def main() -> None:
    """Entry point."""
    if sys.argv[1:] not in (["sync"], ["experiments"], ["uri"]):
        print("usage: python -m memsifter.tracking sync|experiments|uri", file=sys.stderr)
        sys.exit(2)
    with command():
        from memsifter.tracking import complete_experiments, sync, tracking_uri

        if sys.argv[1] == "uri":
            print(tracking_uri(load_params()))
        elif sys.argv[1] == "experiments":
            complete_experiments(load_params())
        else:
            sync(load_params())


if __name__ == "__main__":
    main()
