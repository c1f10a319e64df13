"""verl on machines without a GPU: its platform plugin for CPUs.

verl imports this package in every process when `VERL_USE_EXTERNAL_MODULES` names it. It does nothing unless
`VERL_PLATFORM=cpu`, so that one environment serves both kinds of machine.
"""

import os

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    from memsifter.training.verl.cpu_platform.platform import install_hooks

    install_hooks()
