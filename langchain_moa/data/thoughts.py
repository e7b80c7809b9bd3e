"""Thoughts: removes the chain of thought that models write into the text of their answers."""

from __future__ import annotations

import re
from typing import NamedTuple


class _Spelling(NamedTuple):
    """The tags with which models mark thoughts.

    Attributes:
        opens: Regular expression of the opening tag.
        closes: Regular expression of the closing tag.
        ends_alone: Whether a closing tag without an opening one ends thoughts, because the prompt may have opened them. For
            channels it does not: alone, the tag marks the end of a turn.
    """

    opens: str
    closes: str
    ends_alone: bool = True


# DeepSeek, Qwen and GLM; with a prefix, Seed and Anthropic's dialects; Magistral; Kimi; Sky-T1; Cohere; the channels of gpt-oss
# and Gemma.
_SPELLINGS = (
    *(
        _Spelling(rf"<(?:[\w-]{{1,20}}:)?{name}>", rf"</(?:[\w-]{{1,20}}:)?{name}>")
        for name in ("think", "thinking", "thoughts?", "reasoning")
    ),
    _Spelling(r"\[THINK\]", r"\[/THINK\]"),
    _Spelling("◁think▷", "◁/think▷"),
    _Spelling(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    _Spelling(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    _Spelling(
        r"<\|channel\|>(?:analysis|commentary)[^<>\n]{0,80}<\|message\|>", r"<\|(?:end|return|call)\|>", ends_alone=False
    ),
    _Spelling(r"<\|channel>thought\b", r"<channel\|>"),
)

# The tags that these models write around the answer after their thoughts.
_WRAPPERS = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final[^<>\n]{0,80}<\|message\|>"
    r"|<\|start\|>assistant(?=<\|channel\|>)"
    r"|<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>"
    r"|<\|(?:end|return)\|>\s*\Z",
    re.IGNORECASE,
)

# A tag between backticks is quoted text.
_CODE = r"^ {0,3}```[^\n]*\n(?s:.*?)^ {0,3}```|`[^`\n]+`"

_OPENS = "|".join(f"(?P<open_{number}>{spelling.opens})" for number, spelling in enumerate(_SPELLINGS))
_CLOSES = "|".join(spelling.closes for spelling in _SPELLINGS if spelling.ends_alone)
_MARKS = re.compile(f"(?P<code>{_CODE})|{_OPENS}|(?P<close>{_CLOSES})", re.IGNORECASE | re.MULTILINE)
_CLOSE = [re.compile(spelling.closes, re.IGNORECASE) for spelling in _SPELLINGS]

# Maximum number of characters before an unclosed opening tag ("Okay.") for a cut text to count as cut inside its thoughts.
_FEW = 24


class Visible(NamedTuple):
    """A text without its thoughts.

    Attributes:
        text: The answer.
        thought: Whether thoughts were removed.
    """

    text: str
    thought: bool


def without_thoughts(text: str, *, is_cut: bool = False) -> Visible:
    """Remove the thoughts from a model's text, in all well-known spellings. Takes linear time.

    A closing tag alone ends thoughts that the prompt opened, as the templates of DeepSeek and Qwen do. An opening tag alone is
    ignored, because some servers send the thoughts separately and leave the tag in the text; but if the text was cut, the rest
    counts as thoughts. Tags in code, and closing tags that are words of a sentence, are kept.

    Args:
        text: The text of the model.
        is_cut: Whether the text was cut at the maximum number of tokens.

    Example:
        ```python
        from langchain_moa.data.thoughts import without_thoughts

        without_thoughts("<think>6 times 7 ...</think>It is 42.").text  # "It is 42."
        ```
    """
    kept: list[str] = []
    thought = False
    unclosed: set[int] = set()
    place = start = 0
    while (mark := _MARKS.search(text, place)) is not None:
        place = mark.end()
        kind, _, number = (mark.lastgroup or "").partition("_")
        if kind == "open":
            which = int(number)
            if which in unclosed:
                continue
            if (close := _CLOSE[which].search(text, place)) is not None:
                kept.append(text[start : mark.start()])
                thought, start, place = True, close.end(), close.end()
                continue
            unclosed.add(which)
            before = "".join([*kept, text[start : mark.start()]])
            if is_cut and (len(before.strip()) <= _FEW or before.endswith("\n")):
                return Visible(_answer(before), thought=True)
            if not before.strip():
                kept, start = [], place
        elif kind == "close" and not _is_in_sentence(text, mark):
            kept, start, thought = [], place, True
    kept.append(text[start:])
    if not thought and not _WRAPPERS.search(text):
        return Visible(text[start:] if start else text, thought=False)
    return Visible(_answer("".join(kept)), thought=thought)


def _answer(text: str) -> str:
    return _WRAPPERS.sub("", text).lstrip()


def _is_in_sentence(text: str, mark: re.Match[str]) -> bool:
    """Return whether a closing tag is a word of a sentence: between a space or quote and a space or punctuation."""
    before, after = text[max(mark.start() - 1, 0) : mark.start()], text[mark.end() : mark.end() + 1]
    return before in {" ", '"', "'", "("} and after != "" and after in " .,;:!?\"')"
