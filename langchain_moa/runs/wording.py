"""Compare the wording of an answer with its references, sentence by sentence."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from langchain_moa.runs.sentences import sentences_of
from langchain_moa.strategies.extract.letters import plain
from langchain_moa.strategies.extract.numbers import numerals
from langchain_moa.strategies.similarity import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_moa.runs.run import CallRecord, MoARun

THRESHOLD = 0.5
"""The similarity from which two sentences count as similarly worded, from 0 to 1."""

MEASURE = (
    "Two sentences have similar wording if the cosine of their sets of words is at least "
    f"{THRESHOLD:g}, whatever the order, and if nothing decisive differs between them: their numbers, their negations "
    "(“not”, “never”, “without”, …) and their names (capitalized words). If one of these differs, the sentence counts as "
    "differing, and the page shows what differs. Each sentence is weighted by its words and counts for the reference with the "
    "most similar sentence, in equal parts if there are several. Code is left out; a row of a table is a sentence. "
    "Similar wording shows where a sentence may come from. It does not mean that the reference supports the sentence, and the "
    "same statement in other words is not recognized."
)
"""A description of the measure, for readers of the figures."""

BLEU_MEASURE = (
    "BLEU, from 0 to 100, counts the sequences of one to four words that the answer shares with a reference, as section 3.3 of "
    "the Mixture-of-Agents paper does for aggregators and proposers. It says how much wording the answer shares with the "
    "reference, not whether either is right."
)
"""A description of BLEU, for readers of the figures."""

# The comparison is quadratic, and a longer list would not be useful.
MOST_SENTENCES = 300

# The comparison of two texts is quadratic in the number of pieces.
_MOST_PIECES = 2_000

# BLEU compares sequences of up to four words; of very long texts only the first words are used.
_LONGEST_SEQUENCE = 4
_MOST_WORDS = 10_000

_NEGATION = re.compile(
    r"\b(?:cannot|hardly|isnt|dont|doesnt|neither|never|no|nobody|none|nor|not|nothing|nowhere|without"
    r"|nicht|kein\w{0,2}|nie|niemals|ohne|pas|jamais|sans|nunca|sin|non)\b|n['\u2019]t\b",
    re.IGNORECASE,
)

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")

# These words are not names when capitalized at the beginning of a sentence.
_NO_NAMES = frozenset(
    re.findall(
        r"\w+",
        "a all also although an and another any are as at because both but by can do does each even every few finally first "
        "for from further have he hence her here his how however i if in instead is it its last many may more moreover "
        "most my next no not now of on one only or other our overall second she should since so some such that the their then "
        "there therefore these they third this those though thus to two under until we what when where whether which while who "
        "why with without yes you your",
    )
)

PieceKind: TypeAlias = Literal["same", "gone", "new", "note"]


class TextPiece(NamedTuple):
    """A piece of the comparison of two texts.

    Attributes:
        kind: `same` in both, `gone` from the reference, `new` in the answer, or `note` for a remark on the comparison.
        text: The piece, or the remark.
    """

    kind: PieceKind
    text: str


@dataclass(frozen=True)
class WordingMatch:
    """The sentence of a reference that is most similar to a sentence of the answer.

    Attributes:
        reference: The index of the reference.
        text: The sentence of the reference.
        score: The similarity, from 0 to 1.
        differences: Descriptions of decisive differences: `numbers: 20 in the answer, 500 in the reference`.
    """

    reference: int
    text: str
    score: float
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedSentence:
    """A sentence of the answer, and the most similar sentence of each reference that has one.

    Attributes:
        text: The sentence.
        matches: The matches from the threshold on, best first. Those without decisive differences come first.
    """

    text: str
    matches: tuple[WordingMatch, ...]

    @property
    def kind(self) -> Literal["similar", "differs", "own"]:
        """`similar` to a reference, `differs` decisively from every similar one, or `own` wording of the writer."""
        if not self.matches:
            return "own"
        return "differs" if self.matches[0].differences else "similar"

    @property
    def best(self) -> tuple[int, ...]:
        """The indices of the references with the most similar sentence, if that does not differ decisively."""
        if self.kind != "similar":
            return ()
        top = self.matches[0].score
        return tuple(match.reference for match in self.matches if not match.differences and match.score == top)


@dataclass(frozen=True)
class Wording:
    """The comparison of an answer with the references that it was written from.

    Attributes:
        references: The references, ordered by proposer.
        sentences: The sentences of the answer.
        shares: The share of the answer that is similar to each reference, from 0 to 1.
        differing: The share that is similar to a reference but differs in a number, a negation or a name, from 0 to 1.
        bleu: The BLEU score of the answer against each reference, from 0 to 100.
        is_cut: Whether a text has more sentences than the comparison takes.
    """

    references: tuple[CallRecord, ...]
    sentences: tuple[ComparedSentence, ...]
    shares: tuple[float, ...]
    differing: float
    bleu: tuple[float, ...]
    is_cut: bool = False

    @property
    def similar(self) -> float:
        """The share of the answer that is similar to any reference, from 0 to 1."""
        return min(1.0, math.fsum(self.shares))

    @property
    def own(self) -> float:
        """The share of the answer that is similar to no reference, from 0 to 1."""
        return max(0.0, 1 - self.similar - self.differing) if self.sentences else 0.0


def wording_of(run: MoARun) -> Wording | None:
    """Compare the wording of a run's answer with its references.

    Args:
        run: The run.

    Returns:
        The comparison, or `None` without an answer or references.

    Raises:
        ImportError: The extra `report` is not installed.

    Example:
        ```python
        from langchain_moa import ChatMoA, record_moa
        from langchain_moa.runs.wording import wording_of

        with record_moa() as runs:
            ChatMoA.from_preset("local", max_tokens=32).invoke("Why is the sky blue?")
        wording = wording_of(runs[0])
        for reference, share in zip(wording.references, wording.shares):
            print(f"{share:.0%} is worded like {reference.name}")
        ```
    """
    references = run.references
    if not run.text.strip() or not references:
        return None
    own = sentences_of(run.text)
    theirs = [sentences_of(reference.text_read) for reference in references]
    others = [[(text, words(text)) for text in each[:MOST_SENTENCES]] for each in theirs]
    found = [_compared(text, others) for text in own[:MOST_SENTENCES]]
    weights = [len(words(each.text)) for each in found]
    total = sum(weights) or 1
    shares = [
        math.fsum(weight / len(each.best) for each, weight in zip(found, weights, strict=True) if place in each.best) / total
        for place in range(len(references))
    ]
    differing = sum(weight for each, weight in zip(found, weights, strict=True) if each.kind == "differs") / total
    return Wording(
        references=tuple(references),
        sentences=tuple(found),
        shares=tuple(shares),
        differing=differing,
        bleu=tuple(bleu(run.text, each.text_read) for each in references),
        is_cut=any(len(each) > MOST_SENTENCES for each in [own, *theirs]),
    )


def decisive_differences(answer: str, reference: str) -> tuple[str, ...]:
    """Return the differences of two similar sentences that may change their meaning: numbers, negations and names.

    Args:
        answer: The sentence of the answer.
        reference: The sentence of the reference.

    Returns:
        A line for each kind: `numbers: 20 in the answer, 500 in the reference`.
    """
    pairs = {
        "numbers": (_numbers(answer), _numbers(reference)),
        "negations": (_negations(answer), _negations(reference)),
        "names": _names(answer, reference),
    }
    found = []
    for kind, (ours, theirs) in pairs.items():
        # Only the number of negations is compared: "not" and "never" are equivalent.
        same = ours.total() == theirs.total() if kind == "negations" else ours == theirs
        if not same:
            sides = [(ours - theirs, "in the answer"), (theirs - ours, "in the reference")]
            found.append(f"{kind}: " + ", ".join(f"{' '.join(side.elements())} {where}" for side, where in sides if side))
    return tuple(found)


def bleu(answer: str, reference: str) -> float:
    """Return the BLEU score of an answer against one reference (Papineni et al., 2002), from 0 to 100.

    It uses sequences of up to four words, ignores case, and smooths counts of zero as sacreBLEU's default does ("exp").

    Args:
        answer: The text to score.
        reference: The text to compare it with.
    """
    ours, theirs = (_WORD.findall(text.casefold())[:_MOST_WORDS] for text in (answer, reference))
    if not ours or not theirs:
        return 0.0
    smooth, logs, total = 1.0, 0.0, 0
    for length in range(1, _LONGEST_SEQUENCE + 1):
        have, want = _sequences(ours, length), _sequences(theirs, length)
        if not have:
            break
        total = length
        matches = (have & want).total()
        if length == 1 and not matches:
            return 0.0
        if not matches:
            smooth *= 2
        logs += math.log((matches or 1 / smooth) / have.total())
    penalty = 1.0 if len(ours) >= len(theirs) else math.exp(1 - len(theirs) / len(ours))
    return 100 * penalty * math.exp(logs / total)


def difference(reference: str, answer: str) -> list[TextPiece]:
    """Return the word-by-word difference of a reference and an answer.

    Args:
        reference: The reference.
        answer: The answer.

    Returns:
        The pieces in order: words with the following space, or lines if a text is too long. For even longer texts, only the
        first lines and a note.
    """
    old, new = (re.findall(r"\A\s+|\S+\s*", text) for text in (reference, answer))
    if max(len(old), len(new)) > _MOST_PIECES:
        old, new = reference.splitlines(keepends=True), answer.splitlines(keepends=True)
    is_cut = max(len(old), len(new)) > _MOST_PIECES
    old, new = old[:_MOST_PIECES], new[:_MOST_PIECES]
    pieces: list[TextPiece] = []
    # Spaces are not compared. With `autojunk`, very frequent words of a long text start no match, but extend matches; without
    # it, a text of a few repeated words takes minutes.
    matcher = SequenceMatcher(None, [word.strip() for word in old], [word.strip() for word in new], autojunk=True)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(TextPiece("same", "".join(new[c:d])))
            continue
        pieces += _apart("gone", "".join(old[a:b]))
        pieces += _apart("new", "".join(new[c:d]))
    if is_cut:
        pieces.append(TextPiece("note", f"Only the first {_MOST_PIECES:,} lines of each are compared."))
    return pieces


def _apart(kind: PieceKind, text: str) -> list[TextPiece]:
    """Return a piece, and its trailing space as a piece that is not marked."""
    said = text.rstrip()
    return [TextPiece(kind, said), TextPiece("same", text[len(said) :])] if said else []


def _compared(text: str, others: Sequence[Sequence[tuple[str, frozenset[str]]]]) -> ComparedSentence:
    found = (match for place, sentences in enumerate(others) if (match := _best(text, sentences, place)) is not None)
    return ComparedSentence(text, tuple(sorted(found, key=_rank)))


def _best(text: str, sentences: Sequence[tuple[str, frozenset[str]]], place: int) -> WordingMatch | None:
    """Return the best match among the sentences of a reference, or `None` if none is similar enough."""
    own = words(text)
    scored = ((_cosine(own, theirs), sentence) for sentence, theirs in sentences)
    # Keep one of several equal sentences.
    similar = dict.fromkeys((score, sentence) for score, sentence in scored if score >= THRESHOLD)
    matches = [WordingMatch(place, sentence, score, decisive_differences(text, sentence)) for score, sentence in similar]
    return min(matches, key=_rank, default=None)


def _rank(match: WordingMatch) -> tuple[bool, float]:
    return bool(match.differences), -match.score


def _cosine(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else 0.0


def _numbers(text: str) -> Counter[str]:
    return Counter(each.value for each in numerals(plain(text)))


def _negations(text: str) -> Counter[str]:
    return Counter(match[0].casefold() for match in _NEGATION.finditer(text))


def _names(answer: str, reference: str) -> tuple[Counter[str], Counter[str]]:
    """Return the names in each sentence that the other one does not have."""
    ours, theirs = ({word.casefold(): word for word in _WORD.findall(text)} for text in (answer, reference))
    return _names_beyond(ours, theirs), _names_beyond(theirs, ours)


def _names_beyond(own: Mapping[str, str], other: Mapping[str, str]) -> Counter[str]:
    return Counter(word for folded, word in own.items() if folded not in other and _is_name(word, folded))


def _is_name(word: str, folded: str) -> bool:
    return word[0].isupper() and folded not in _NO_NAMES and _NEGATION.fullmatch(word) is None


def _sequences(tokens: list[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(_windows(tokens, length))


def _windows(tokens: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(length)), strict=False)
