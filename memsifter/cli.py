"""The command `memsifter`, also `python -m memsifter`.

Nothing heavy is imported before a command is chosen: help and wrong calls answer at once.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shtab

from memsifter.serving.commands import add_commands as add_serving
from memsifter.sifter.commands import add_commands

if TYPE_CHECKING:
    from memsifter.params import Params

ROOT = Path(__file__).resolve().parent.parent
Handler = Callable[[argparse.Namespace], None]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 1 for an error, 2 for a wrong call, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        from memsifter.command import command

        with command():
            options.handler(options)
    except KeyboardInterrupt:  # during the imports
        print("memsifter: interrupted", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memsifter",
        description="Find the few past conversation sessions that a question needs. The pipeline itself runs by "
        "`make repro` or `dvc repro`.",
        epilog="`memsifter COMMAND --help` tells more, with examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(commands, _add)
    add_serving(commands, _add)
    _add_compose(commands)
    _add_data(commands)
    _add_report(commands)
    _add_track(commands)
    _add_bench(commands)
    _add_plan(commands)
    shtab.add_argument_to(parser, "--print-completion", help="print the completion of a shell, see docs/use.md")
    return parser


def _add(commands: Any, name: str, handler: Handler | None, text: str, examples: str) -> argparse.ArgumentParser:
    """A command with its help: the first sentence in the list of commands, all of it and examples in its own."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text.partition(". ")[0].rstrip("."),
        description=text,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if handler:
        parser.set_defaults(handler=handler)
    return parser


def _add_compose(commands: Any) -> None:
    parser = _add(
        commands,
        "compose",
        _compose,
        "Write params.yaml from configs/. What it is composed from is kept in its head.",
        "memsifter compose\n"
        "memsifter compose profile=gpu dataset=locomo rank.max_ranked=5\n"
        "memsifter compose --check            before `dvc repro`: is params.yaml what configs/ says?\n"
        "memsifter compose --reference        after a change of memsifter/params/: write docs/parameters.md",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides, as for `dvc exp run -S`")
    parser.add_argument(
        "--check",
        action="store_true",
        help="also check what this machine must have; without KEY=VALUE write nothing, but compare params.yaml with "
        "configs/",
    )
    parser.add_argument("--without-gpu", action="store_true", help="do not ask for a GPU: outs come from a remote")
    parser.add_argument("--reference", action="store_true", help="write docs/parameters.md, and nothing else")


def _compose(options: argparse.Namespace) -> None:
    if options.reference:
        from memsifter.params.reference import write_reference

        return print(f"{write_reference().relative_to(ROOT)} written")
    from memsifter.params import Params
    from memsifter.params.compose import check_current, compose
    from memsifter.preflight import check_devices, check_files

    def check(params: Params) -> None:
        check_files(params)
        if options.check and not options.without_gpu:
            check_devices(params)

    if options.check and not options.overrides:
        return check(check_current())
    params = compose(options.overrides, check)
    return print(f"params.yaml: profile {params.profile}, datasets {', '.join(params.datasets)}")


def _add_data(commands: Any) -> None:
    group = _add(
        commands,
        "data",
        None,
        "Work with datasets.",
        "memsifter data check mine.jsonl\nmemsifter data check locomo",
    ).add_subparsers(required=True, metavar="COMMAND")
    check = _add(
        group,
        "check",
        _check_data,
        "Report every problem of a dataset, with its row, its field and what to do. Exits with 1 if the data stage "
        "would refuse something.",
        "memsifter data check mine.jsonl\n"
        "memsifter data check exports/ --reader chatml\n"
        "memsifter data check locomo            a dataset of params.yaml, or a published benchmark",
    )
    check.add_argument("source", help="a file or folder, a dataset of params.yaml, or a benchmark's name")
    check.add_argument("--reader", help="the layout of a file (default: guessed from its content)")


def _check_data(options: argparse.Namespace) -> None:
    from memsifter.datasets.check import CheckReport, check_records
    from memsifter.datasets.registry import READERS, read
    from memsifter.io.display import printable

    if options.reader and options.reader not in READERS:
        print(f"memsifter: --reader: {options.reader!r} is none of {', '.join(READERS)}", file=sys.stderr)
        sys.exit(2)
    report = CheckReport()
    params, name = _find_source(options.source, options.reader)
    for line in check_records(read(params, name), report):
        print(printable(line))
    print(f"{printable(options.source)}: {report.summary()}")
    if report.errors:
        sys.exit(1)


def _find_source(source: str, reader: str | None) -> tuple[Any, str]:
    from memsifter.datasets.check import guess_reader
    from memsifter.datasets.registry import CATALOGUE, parse_source
    from memsifter.params import load_params

    path = Path(source)
    if path.exists():
        return parse_source(reader or guess_reader(path), path=path)
    datasets = load_params().datasets if (ROOT / "params.yaml").exists() else {}
    if source in datasets and reader is None:
        return datasets[source], source
    options = {"reader": reader} if reader and source in CATALOGUE else {}
    return parse_source(source, **options)


def _add_report(commands: Any) -> None:
    parser = _add(
        commands,
        "report",
        _report,
        "Write one HTML page about what the pipeline computed. It loads nothing and may be mailed.",
        "memsifter report\nmemsifter report /tmp/report.html",
    )
    parser.add_argument("file", nargs="?", type=Path, help="the page (default: reports/report.html)")


def _report(options: argparse.Namespace) -> None:
    from memsifter.report import write_report

    write_report(options.file)


def _add_track(commands: Any) -> None:
    parser = _add(
        commands,
        "track",
        _track,
        "Complete the MLflow record. `make repro` and `make mlflow` do so by themselves.",
        "memsifter track sync           after `dvc repro`: record what its last stages left\n"
        "memsifter track experiments    after `dvc exp run`: the figures that came from DVC's run-cache\n"
        "memsifter track uri            where runs are recorded",
    )
    parser.add_argument("action", choices=("sync", "experiments", "uri"))


def _track(options: argparse.Namespace) -> None:
    from memsifter.params import load_params

    params = load_params()
    if options.action == "uri":
        from memsifter.tracking.records import tracking_uri

        return print(tracking_uri(params))
    # Imported here: MLflow takes seconds.
    from memsifter.tracking.completion import complete_experiments, sync

    if options.action == "experiments":
        complete_experiments(params)
    else:
        sync(params)
    return None


def _add_bench(commands: Any) -> None:
    parser = _add(
        commands,
        "bench",
        _bench,
        "Run a benchmark of bench/. What follows the name is passed on to it.",
        "memsifter bench retrieval --help\nmemsifter bench coarse",
    )
    parser.add_argument("name", choices=_benchmarks())
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="the benchmark's own arguments")


def _benchmarks() -> list[str]:
    files, folders = (ROOT / "bench").glob("[a-z]*.py"), (ROOT / "bench").glob("*/__main__.py")
    return sorted([*(path.stem for path in files), *(path.parent.name for path in folders)])


def _bench(options: argparse.Namespace) -> None:
    import runpy

    sys.path.insert(0, str(ROOT))
    sys.argv = [f"bench.{options.name}", *options.rest]
    runpy.run_module(f"bench.{options.name}", run_name="__main__", alter_sys=True)


def _add_plan(commands: Any) -> None:
    parser = _add(
        commands,
        "plan",
        _plan,
        "Compute what training needs of memory, from params.yaml and the model's config.json. Exits with 1 if it does "
        "not fit. The train stage checks the same before it starts.",
        "memsifter plan\n"
        "memsifter plan --model ~/models/Qwen3-4B --gpu-gib 79     before anything is downloaded or rented",
    )
    parser.add_argument("--round", help="a training round (default: the first)")
    parser.add_argument("--model", type=Path, help="a folder with the ranker's config.json (default: models/…)")
    parser.add_argument("--gpu-gib", type=float, help="memory of one GPU in GiB (default: this machine's, else 79)")


def _plan(options: argparse.Namespace) -> None:
    from memsifter.params import load_params

    params = load_params()
    _check_model(params, options.round, options.model)
    from memsifter.training.plan import show_plan

    show_plan(params, options.round, options.model, options.gpu_gib)


def _check_model(params: "Params", round_name: str | None, model: Path | None) -> None:
    """Refuse a folder that is not there: transformers takes it for the name of a model to download."""
    from memsifter.errors import MemSifterError
    from memsifter.io.paths import model_directory

    if model is not None and not model.is_dir():
        raise MemSifterError(f"{model}: no such folder (--model)")
    chosen = params.rounds.get(round_name or next(iter(params.rounds), ""))
    if model is None and chosen is not None and not (folder := model_directory(chosen.start_from)).is_dir():
        raise MemSifterError(
            f"{folder}: no such folder yet; `dvc repro` makes it, or name one with a config.json (--model)"
        )
