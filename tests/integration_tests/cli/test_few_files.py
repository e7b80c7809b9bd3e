"""Every command where a process may open 64 files, as after `ulimit -n 64`: it works, or says what to do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration_tests.cli.program import Program
from tests.integration_tests.serving.test_serve_as_a_program import ask, serving
from tests.loopback import Reply
from tests.recorded_runs import a_call, a_run
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on open files")

REMEDY = "too many open files; raise `ulimit -n`, or make fewer calls at the same time"

# The first answers of each command's model are held until so many calls are open at once, so that the other calls of its first
# moment find no file left.
TOGETHER = 40
PROPOSERS = 100

# In one process, because each takes seconds to start.
COMMANDS = {
    "show": ["show", "-c", "ask.yaml"],
    "presets": ["presets"],
    "models": ["models"],
    "draw": ["draw", "-c", "ask.yaml", "-o", "moa.svg"],
    "report": ["report", "run.json"],
    "ask": ["ask", "-c", "ask.yaml", "Why?"],
    "batch": ["batch", "questions.jsonl", "-c", "batch.yaml", "-o", "a.jsonl", "--concurrency", "100"],
    "eval": ["eval", "compare", "-c", "eval.yaml", "--task", "questions.jsonl", "-o", "b", "--yes", "--concurrency", "100"],
    "generate": ["eval", "generate", "-b", "flask", "--questions", "flask.jsonl", "-c", "generate.yaml", "-o", "d.jsonl"],
    "tune": ["tune", "-c", "tune.yaml", "--task", "questions.jsonl", "-o", "c", "--yes", "--concurrency", "100"],
    "doctor": ["doctor", "-c", "doctor.yaml"],
}
ALL = """
import json, sys
from typer.testing import CliRunner
from langchain_moa.cli.app import app

done = {}
for name, args in json.loads(sys.argv[1]).items():
    print(name, file=sys.stderr, flush=True)
    result = CliRunner().invoke(app, args)
    done[name] = [result.exit_code, result.stdout, result.stderr]
print(json.dumps(done))
"""


class FewFiles(Program):
    """The command line after `ulimit -n 64`."""

    def command(self, *args: str) -> list[str]:
        return limited(*super().command(*args))


def limited(*command: str) -> list[str]:
    return ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *command]


def mixture(name: str) -> dict[str, Any]:
    """A mixture of one model, which is several members for `doctor`, too."""
    count = {"batch": 2, "eval": 2, "tune": 4}.get(name, PROPOSERS)
    proposers = [{"model": f"openai:{name}", "name": f"{number}", "settings": {"seed": number}} for number in range(count)]
    return {"proposers": proposers, "aggregator": "openai:agg", "num_layers": 1, "max_retries": 0}


@pytest.fixture
def few(loopback: Loopback, tmp_path: Path) -> FewFiles:
    for name in ("ask", "batch", "eval", "generate", "tune", "doctor", "chat", "serve"):
        loopback.script(name, [*[Reply("2", together=TOGETHER)] * TOGETHER, Reply("2")])
        (tmp_path / f"{name}.yaml").write_text(json.dumps(mixture(name)), encoding="utf-8")
    (tmp_path / "run.json").write_text(a_run(a_call()).to_json(), encoding="utf-8")
    rows = [json.dumps({"id": number, "question": f"{number} + 1?", "answer": str(number)}) for number in range(50)]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    flask = [json.dumps({"idx": number, "instruction": f"{number} + 1?"}) for number in range(2)]
    (tmp_path / "flask.jsonl").write_text("\n".join(flask), encoding="utf-8")
    return FewFiles(loopback, tmp_path)


def test_commands_say_what_to_do(few: FewFiles, tmp_path: Path) -> None:
    args = limited(sys.executable, "-c", ALL, json.dumps(COMMANDS))
    with subprocess.Popen(  # noqa: S603  # our own
        args, cwd=tmp_path, env=few.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    done = {name: (code, f"{out}{err}") for name, (code, out, err) in json.loads(out).items()}
    codes = {name: code for name, (code, _) in done.items()}
    # Its calls are retried. Whether enough of them find free files depends on the machine.
    assert codes.pop("tune") in (0, 1)
    assert codes == {
        **dict.fromkeys(("show", "presets", "models", "draw", "report"), 0),
        **dict.fromkeys(("ask", "batch", "eval", "generate", "doctor"), 1),
    }
    for name, (code, said) in done.items():
        assert code == 0 or REMEDY in said, name
        assert "Traceback" not in said
        assert "--debug" not in said  # the hint for unexpected errors
    assert "check that a server listens" not in done["doctor"][1]


def test_a_chat_goes_on(few: FewFiles, tmp_path: Path) -> None:
    few.env.update(PROMPT_TOOLKIT_NO_CPR="1", XDG_STATE_HOME=str(tmp_path / "state"))
    done = few.in_terminal("chat", "-c", "chat.yaml", width=200, type_after=b"/help says", typed=b"Why?\r/quit\r")
    assert done.code == 0
    assert REMEDY in " ".join(done.text.split())
    assert "Traceback" not in done.text


def test_a_server_goes_on(few: FewFiles) -> None:
    with serving(few, "--config", "serve.yaml") as (process, url):
        failed = ask(url, "serve")
        assert httpx.get(f"{url}/models", trust_env=False, timeout=PATIENCE).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert failed.status_code >= 500
    assert REMEDY in failed.json()["error"]["message"]
    assert "Traceback" not in err
