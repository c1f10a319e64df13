"""`python -m memsifter` is the command `memsifter`."""

from memsifter.cli import main

if __name__ == "__main__":
    main()
