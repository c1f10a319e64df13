import pytest

from memsifter.errors import MemSifterError
from memsifter.models.references import (
    HubReference,
    OrderReference,
    PathReference,
    TinyReference,
    WheelReference,
    parse_reference,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path:models/mine", PathReference("models/mine")),
        ("path:/data/model.gguf", PathReference("/data/model.gguf")),
        ("hf:Qwen/Qwen3-0.6B", HubReference("Qwen/Qwen3-0.6B", None)),
        ("hf:BAAI/bge-m3@refs/pr/93", HubReference("BAAI/bge-m3", "refs/pr/93")),
        ("pypi:llm-x==0.1.2#llm_x/w.gguf", WheelReference("llm-x", "0.1.2", "llm_x/w.gguf")),
        ("pypi:gt-x==1.0#gt_x/model/", WheelReference("gt-x", "1.0", "gt_x/model")),
        ("tiny:7", TinyReference(7)),
        ("order:coarse", OrderReference("coarse")),
        ("order:hand_weighted", OrderReference("hand_weighted")),
    ],
)
def test_each_form_is_understood(text: str, expected: object) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Qwen/Qwen3",
        "hf:Qwen",
        "hf:a/b/c",
        "pypi:x#y",
        "pypi:x==1",
        "path:",
        "ftp:x",
        "tiny:",
        "tiny:-1",
        "order:",
        "order:best",
        "tiny:" + "9" * 40,
    ],
)
def test_anything_else_is_refused_with_the_allowed_forms(text: str) -> None:
    with pytest.raises(MemSifterError, match="hf:ORG/NAME"):
        parse_reference(text)


@pytest.mark.parametrize("text", ["pypi:-e==1#x", "pypi:-r==1.0#x", "pypi:x==-1#y", "hf:-x/y", "hf:../x", "path:a\0b"])
def test_nothing_that_looks_like_an_option_or_a_path_is_a_name(text: str) -> None:
    with pytest.raises(MemSifterError, match="is not understood"):
        parse_reference(text)


def test_a_wheel_member_cannot_climb_out_of_its_folder() -> None:
    with pytest.raises(MemSifterError, match=r"'\.\.'"):
        parse_reference("pypi:x==1.0#../../etc/passwd")
