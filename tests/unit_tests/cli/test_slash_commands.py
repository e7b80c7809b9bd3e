"""Which lines are slash commands, and which command each line runs."""

from __future__ import annotations

import pytest

from langchain_moa.cli.chat.slash_commands import COMMANDS, find_command, is_slash, question_in
from langchain_moa.cli.exit_codes import UsageError


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("/usage", "usage", ""),
        ("/USAGE  ", "usage", ""),
        ("/u", "usage", ""),
        ("/save  my file.md ", "save", "my file.md"),
        ("/graph", "graph", ""),
    ],
)
def test_a_command_is_found_by_its_name_or_the_beginning_of_it(line: str, name: str, argument: str) -> None:
    command, given = find_command(line, COMMANDS)
    assert (command.name, given) == (name, argument)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/", "there is no command /; choose one of: /references, /graph, /usage,"),
        ("/nonsense", "there is no command /nonsense; choose one of: /references"),
        ("/usege", "did you mean /usage?"),
        ("/re", "/re may be /references or /report"),
        ("/usage now", "/usage takes no arguments"),
    ],
)
def test_what_is_no_command_is_told_what_there_is(line: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_command(line, COMMANDS)
    assert says in str(caught.value)


@pytest.mark.parametrize(("line", "question"), [(" /etc?", "/etc?"), ("//etc?", "/etc?"), ("Why?\n", "Why?")])
def test_a_question_may_begin_with_a_slash(line: str, question: str) -> None:
    assert not is_slash(line)
    assert question_in(line) == question


def test_no_name_is_the_beginning_of_another() -> None:
    names = [command.name for command in COMMANDS]
    assert not [(one, other) for one in names for other in names if one != other and other.startswith(one)]
