"""Sanitizing: removes or spells out invisible characters and control tokens in the text of models and servers."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Unicode's control and format characters, except tab, line ends, joiners, and the visible signs of Arabic and Kaithi numbers;
# line and paragraph separators; letters and marks without a glyph; variation selectors; lone surrogates.
_ALWAYS = (
    "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff"
)

# Joiners and variation selectors are needed in Persian, Indic and Mongolian scripts and in emoji sequences. They are matched
# only where they have no such function: next to ASCII, or several in a row.
_SOMETIMES = (
    "(?<![^\0-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\0-\x7f])|(?<=[\u200c\u200d])[\u200c\u200d]+"
    "|(?<![\u1800-\u18af])[\u180b-\u180d\u180f]"
    "|(?<![^\0-\x7f\ufe0e\ufe0f])(?:(?<![0-9#*])[\ufe0e\ufe0f]|[\ufe0e\ufe0f](?!\u20e3))"
)

_UNSEEN = re.compile(f"[{_ALWAYS}]|{_SOMETIMES}")
_UNSEEN_IN_PIECES = re.compile(f"[{_ALWAYS}\r]")


def whole_characters(text: str) -> str:
    """Return a text without lone surrogates: join pairs, and replace the others.

    A server that cuts an answer may leave half a character. Clients cannot send it, and checkpointers cannot store it.

    Args:
        text: The text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def spelled_out(text: str) -> str:
    """Return a text in which each invisible character is replaced by its code point: `[U+202E]`."""
    return replaced(text, lambda character: f"[U+{ord(character):04X}]")


def shown_line(text: object) -> str:
    """Return foreign text as one line for a log or a terminal: without line breaks, invisible characters spelled out."""
    return " ".join(spelled_out(str(text)).split())


def replaced(text: str, by: Callable[[str], str]) -> str:
    """Return a text in which each invisible character is replaced.

    Args:
        text: Any text.
        by: Returns the replacement of an invisible character.
    """
    return _UNSEEN.sub(lambda match: "".join(map(by, match[0])), text)


def left_out(piece: str) -> str:
    """Return a chunk of streamed text without invisible characters and terminal controls.

    Joiners are kept, because whether one is valid may depend on the next chunk.

    Args:
        piece: The chunk.
    """
    return _UNSEEN_IN_PIECES.sub("", piece)


# Unicode's Default_Ignorable_Code_Point, except the signs of `_SIGNS`; other characters without a glyph: marks of Syriac,
# Khitan and hieroglyphs, and the null notehead of musical notation.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff"
    "\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)

# Joiners (needed in Persian, Indic scripts and emoji sequences), selectors of text or emoji style, and selectors of Mongolian
# letters. They are kept only where they have a function.
_SIGNS = re.compile("[\u200c\u200d\ufe0e\ufe0f\u180b-\u180f]+")
_JOINING = re.compile("[\ufe0e\ufe0f]?[\u200c\u200d]")
_STYLE = re.compile("[\ufe0e\ufe0f]")
_MONGOLIAN = re.compile("[\u180b-\u180f]")

# The scripts before Hebrew (Latin, Greek, Cyrillic, Armenian) do not use joiners.
_FIRST_JOINED = 0x590

# Chinese, Japanese and Korean scripts do not use joiners.
_NEVER_JOINED = (range(0x2E80, 0xA4D0), range(0xAC00, 0xD800), range(0x20000, 0x40000))

# The combining class of a virama.
_ENDS_SYLLABLE = 9

# Full-width and mathematical letters and digits become plain, because they could spell a marker. Other variants have a meaning
# of their own and are kept: x², ½, full-width commas.
_VARIANT = (range(0xFF10, 0xFF1A), range(0xFF21, 0xFF3B), range(0xFF41, 0xFF5B), range(0x1D400, 0x1D800))
_PLAIN = {code: unicodedata.normalize("NFKC", chr(code)) for codes in _VARIANT for code in codes}

# Control characters; surrogates, which clients cannot send; private-use characters, which have no defined appearance.
_UNPRINTABLE = {"Cc", "Cs", "Co"}

# Line and paragraph separators become line ends, and the blank Braille pattern becomes a space.
_PLAIN |= {0x2028: "\n", 0x2029: "\n", 0x2800: " "}

# The emoji that a joiner combines with those that may follow (Unicode's emoji-zwj-sequences). Between other emoji, a joiner is
# invisible. A skin tone or a style selector can stand between an emoji and its joiner.
_PEOPLE = "👦👧👨👩🧑🧒"
_GENDERED = "⛹🏃🏄🏊🏋🏌👮👯👰👱👳👷💁💂💆💇🕴🕵🙅🙆🙇🙋🙍🙎🚣🚴🚵🚶🤦🤵🤷🤸🤹🤼🤽🤾🦸🦹🧍🧎🧏🧔🧖🧗🧘🧙🧚🧛🧜🧝🧞🧟"
_JOINED_EMOJI = {
    **dict.fromkeys("👨👩🧑", f"{_PEOPLE}❤🤝🐰⚕⚖✈🌾🍳🍼🎄🎓🎤🎨🏫🏭💻💼🔧🔬🚀🚒🦯🦰🦱🦲🦳🦼🦽🩰"),
    **dict.fromkeys("👦👧🧒", _PEOPLE),
    **dict.fromkeys(_GENDERED, "♀♂"),
    **dict.fromkeys("🚶🏃🧎", "♀♂➡"),
    **dict.fromkeys("♀♂🦯🦼🦽", "➡"),
    **dict.fromkeys("💋🤝🐰", "👨👩🧑"),
    "❤": "🔥🩹💋👨👩🧑",
    "🏳": "🌈⚧",
    "🐦": "⬛🔥",
    "🙂": "↔↕",
    **dict(zip("🏴🐕🐈🐻😮😵😶👁🍋🍄⛓", "☠🦺⬛❄💨💫🌫🗨🟩🟫💥", strict=True)),
}
_TONES = range(0x1F3FB, 0x1F400)

# The markers of turns, roles, tools, thoughts and media in the chat templates of open models. Servers' tokenizers read them as
# control tokens anywhere in a text. Each alternative looks ahead a bounded number of characters or to the next bracket.
_MARKERS = re.compile(
    # `<|im_start|>` and its like; `<|turn>` and `<turn|>` of Gemma 4; full-width bars of DeepSeek, also inside of longer names.
    r"<(?=/?[|\uff5c][^\s<>|\uff5c]{1,64}[|\uff5c]?>|/?\uff5c[^\s<>|\uff5c]{1,64}\uff5c|[^\s<>|\uff5c]{1,64}[|\uff5c]>)"
    # Llama 2, CodeLlama.
    r"|<(?=</?SYS>>)|<(?=(?:PRE|SUF|MID)>)"
    # SentencePiece, BERT and T5.
    r"|<(?=/?(?:s|pad|unk|bos|eos|cls|sep|mask|sop|eop|bop|eot|eod|eom|unused\d+|reserved_\d+|extra_id_\d+|mask:\d+|ctrl\d+)>)"
    # Thoughts and tools of Qwen, GLM, Hermes and others.
    r"|<(?=/?(?:think|thinking|tools?|tool_(?:call|response)s?|arg_(?:key|value)|function_calls?)>)"
    # Gemma, and images of many; Cohere; Nemotron and Mistral; Ling; MiniCPM; InternLM; Baichuan; StarCoder.
    r"|<(?=(?:start|end)_of_(?:turn|image|audio)>|(?:start|end)_function_(?:call|declaration|response)>|escape>"
    r"|/?image>|(?:image|audio)_soft_token>|IMG_CONTEXT>|[A-Z]{2,8}_TOKEN>|SPECIAL_\d+>|/?role>|用户>|AI>|eo[ah]>"
    r"|TOKENS_UNUSED_\d+>|fim_[a-z]{3,6}>|file_sep>|repo_?name>|gh_stars>)"
    # Seed, MiniMax, LongCat.
    r"|<(?=/?(?:seed:[\w:]+|minimax:[\w:]+|longcat_\w+)>)"
    # Mistral, GLM, Kimi, BERT; EXAONE's `[|user|]`.
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|MODEL_SETTINGS|CALL_ID|ARGS|THINK"
    r"|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX|BOS|EOS|EOT|PAD|UNK|CLS|SEP|MASK|gMASK|sMASK)\])"
    r"|\[(?=\|[^\s|\[\]]{1,64}\|\])"
    # MiniMax; Kimi's `◁think▷`; Falcon's `>>QUESTION<<`.
    r"|\](?=~!?b[\[\]])|\[(?=e~\[)|\](?=<\][a-z ]{1,32}\[>\[)|◁(?=/?[a-z_]{1,32}▷)|>(?=>[A-Z_]{3,24}<<)"
)


def plain(text: str) -> str:
    """Return a text without invisible characters and control tokens.

    Invisible characters are dropped, except where they affect spelling. Full-width and mathematical letters become plain ones.
    A space after the first bracket breaks the markers of chat templates: `<|im_start|>` becomes `< |im_start|>`.

    Args:
        text: The text of a model.

    Example:
        ```python
        from langchain_moa.data.sanitizing import plain

        plain("Blue.<|im_end|>")  # "Blue.< |im_end|>"
        ```
    """
    printable = "".join(
        each for each in text.translate(_PLAIN) if each in "\n\t" or unicodedata.category(each) not in _UNPRINTABLE
    )
    return _MARKERS.sub(lambda match: f"{match[0]} ", _SIGNS.sub(_spelling, _IGNORED.sub("", printable)))


def _spelling(match: re.Match[str]) -> str:
    """Return the matched signs if they have a function in their place, or else an empty string."""
    signs, text = match[0], match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if _MONGOLIAN.fullmatch(signs):
        return signs if "\u1820" <= before <= "\u18aa" else ""
    if _STYLE.fullmatch(signs):
        return signs if _has_style(before) or re.fullmatch("[0-9#*]\u20e3", before + after) else ""
    if _JOINING.fullmatch(signs):
        if before and ord(before) in _TONES:
            before = text[max(match.start() - 2, 0) : match.start() - 1]
        if signs[-1] == "\u200d" and after and after in _JOINED_EMOJI.get(before, ""):
            return signs
        # After a virama, a joiner changes the letter even at the end of a word.
        ends_syllable = bool(before) and unicodedata.combining(before) == _ENDS_SYLLABLE
        return signs if len(signs) == 1 and (ends_syllable or (_is_joined(before) and _is_joined(after))) else ""
    return ""


def _is_joined(character: str) -> bool:
    """Return whether a character is a letter or a mark of a script that uses joiners."""
    if not character or ord(character) < _FIRST_JOINED or any(ord(character) in codes for codes in _NEVER_JOINED):
        return False
    return unicodedata.category(character)[0] in "LM"


def _has_style(character: str) -> bool:
    """Return whether a character is a symbol that can have a text style and an emoji style."""
    return not character.isascii() and (character == "\u2139" or unicodedata.category(character)[0] in "SP")
