"""What an out was made from, as dvc.lock records it."""

from memsifter.tracking.dvc_stages import read_stages, upstream_names

_SHOWN = ("data/", "models/")


def read_lineage(stage: str) -> dict[str, str]:
    """MD5 by path of all data and models that the stages above `stage` wrote, in the order of dvc.yaml.

    What dvc.lock does not hold is absent.

    Raises:
        MemSifterError: this is no DVC repository, or it has no such stage.
    """
    upstream = upstream_names(stage)
    return {
        path: md5
        for name, described in read_stages().items()
        if name in upstream
        for path, md5 in described.outs.items()
        if md5 and path.startswith(_SHOWN)
    }
