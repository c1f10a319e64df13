"""The page: every section in one HTML file that loads nothing."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from memsifter.params import Params
from memsifter.report.failures import Failure
from memsifter.report.quality import describe_training, measure_quality
from memsifter.report.questions import describe_questions
from memsifter.report.run import describe_run, measure_cost

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(params: Params) -> str:
    """The report of the outs in this checkout.

    Text from datasets and models is escaped by Jinja where it is HTML and where it is JSON, and the page's script
    shows it as text only. The page's content security policy allows its own script and style, and no request.

    Raises:
        MemSifterError: an out is missing; says which stage writes it.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "browser.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        run=describe_run(params),
        qualities=measure_quality(params),
        rounds=describe_training(params),
        costs=measure_cost(params),
        datasets=describe_questions(params),
        failures=list(Failure),
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - the project's own file
        script=Markup(script),  # noqa: S704
        script_hash=_hash_of(script),
    )


def _hash_of(script: str) -> str:
    """The script's hash as a content security policy writes it: any other script on the page stays without effect."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
