"""A campaign of deliberate damage, and a table of what was tried and what survived.

python -m bench.faults values|files|servers|kills|stage_kills [--count N] [--seed N] [--folder DIR]
python -m bench.faults report            writes docs/reliability.md from the results in docs/results/reliability

values       bad parameters: one line or accepted and valid, never a traceback, a hang or a secret
files        damaged datasets, models, outs and caches: one line that names the file, or the right result
servers      every way in which an endpoint fails: the same answers and rewards, or the failure is told and not scored
kills        SIGKILL at random moments until the pipeline is through: the same bytes as without (hours; it resumes)
stage_kills  SIGKILL in each stage, N times at random moments of it: likewise
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from bench.faults.report import RESULTS, write_report

COUNTS = {"values": 5000, "files": 1000, "servers": 1000, "kills": 50, "stage_kills": 2}


def main() -> None:
    """Run one campaign; exit with 1 if anything did not survive."""
    arguments = _read_arguments()
    if arguments.campaign == "report":
        print(write_report(arguments.folder or RESULTS))
        return
    logging.disable(logging.WARNING)  # what is left out or repaired is told case by case
    count = COUNTS[arguments.campaign] if arguments.count is None else arguments.count
    if arguments.campaign == "values":
        from bench.faults.values import run_values

        campaign = run_values(count, arguments.seed)
    elif arguments.campaign == "files":
        from bench.faults.files import run_files

        campaign = run_files(count, arguments.seed)
    elif arguments.campaign == "servers":
        from bench.faults.servers import run_servers

        campaign = run_servers(count, arguments.seed)
    else:
        from bench.faults.kills import run_kills, run_stage_kills

        run = run_kills if arguments.campaign == "kills" else run_stage_kills
        campaign = run(count, arguments.seed, arguments.target, arguments.work)
    campaign.show()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    campaign.save(folder)
    print(f"written to {folder}")
    sys.exit(bool(campaign.failures))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("campaign", choices=[*COUNTS, "report"])
    parser.add_argument("--count", type=int, help=f"cases, kinds or kills (default: {COUNTS})")
    parser.add_argument("--seed", type=int, default=0, help="which cases are drawn (default: 0)")
    parser.add_argument("--folder", type=Path, help="for the results (default: a new temporary one)")
    parser.add_argument(
        "--target", default="", help="kills, stage_kills: the stage to reach, such as evaluate_coarse@sample"
    )
    parser.add_argument(
        "--work", type=Path, help="kills, stage_kills: a folder for the clones, which is kept and resumed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
