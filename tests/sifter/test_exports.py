"""The commands of docs/use.md that turn exports into sessions, on small exports as ChatGPT and Claude write them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.sessions import Session, Turn
from memsifter.io.paths import ROOT
from memsifter.sifter.inputs import parse_sessions, read_sessions

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


def convert(number: int, folder: Path) -> tuple[Session, ...]:
    """What the page's command of this number makes of the exports in a folder."""
    page = (ROOT / "docs" / "use.md").read_text()
    commands = re.findall(
        r"```bash\n(.*?)```", page.partition("### Your own exports")[2].partition("\n## ")[0], re.DOTALL
    )
    subprocess.run(["bash", "-ec", commands[number]], cwd=folder, check=True)
    return read_sessions(parse_sessions((folder / "history.jsonl").read_text(), "history.jsonl"))


def chatgpt(name: str, *messages: tuple[str, list[Any]]) -> dict[str, Any]:
    """A conversation of an export: its messages stand in a tree whose root has none."""
    nodes: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None}}
    for number, (role, parts) in enumerate(messages):
        kind = "text" if all(isinstance(part, str) for part in parts) else "multimodal_text"
        content = {"content_type": kind, "parts": parts}
        time = None if role == "system" else 1716200000.5 + number
        message = {"author": {"role": role, "name": None}, "create_time": time, "content": content}
        nodes[str(number)] = {"id": str(number), "message": message, "parent": "root"}
    return {"title": name, "create_time": 1716200000.5, "mapping": nodes, "conversation_id": name}


def test_an_export_of_chatgpt(tmp_path: Path) -> None:
    export = [
        chatgpt(
            "cat", ("system", [""]), ("user", ["Meine Katze ist krank.", "Was tun?"]), ("assistant", ["Zum Arzt."])
        ),
        chatgpt("picture", ("system", ["Be brief."]), ("user", [{"asset_pointer": "file://x"}])),
        chatgpt("empty"),
    ]
    (tmp_path / "conversations.json").write_text(json.dumps(export))
    [session] = convert(0, tmp_path)
    assert session == Session(
        "cat", session.date, (Turn("user", "Meine Katze ist krank.\nWas tun?"), Turn("assistant", "Zum Arzt."))
    )
    assert session.date.startswith("2024-05-20 10:13")


def test_an_export_of_claude(tmp_path: Path) -> None:
    messages = [("human", "Where did I park?"), ("assistant", ""), ("assistant", "Near Rossio.")]
    export = [
        {
            "uuid": name,
            "name": "",
            "created_at": "2025-01-05T10:00:00.000000Z",
            "chat_messages": [
                {"uuid": "m", "text": text, "sender": sender, "created_at": "2025-01-05T10:00:00.000000Z"}
                for sender, text in chosen
            ],
        }
        for name, chosen in (("trip", messages), ("empty", []))
    ]
    (tmp_path / "conversations.json").write_text(json.dumps(export))
    [session] = convert(1, tmp_path)
    turns = (Turn("human", "Where did I park?"), Turn("assistant", "Near Rossio."))
    assert session == Session("trip", "2025-01-05 10:00", turns)


def test_a_folder_of_notes(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "2024-05-20.md").write_text('# Vet\n\nMomo is "ill".\n')
    (tmp_path / "notes" / "2024-05-21 bike.md").write_text("A red bicycle.\n")
    first, second = convert(2, tmp_path)
    assert (first.session_id, first.date) == ("2024-05-20", "2024-05-20")
    assert first.turns == (Turn("user", '# Vet\n\nMomo is "ill".\n'),)
    assert second.session_id == "2024-05-21 bike"
