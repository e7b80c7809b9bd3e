"""Short answers, such as a number, a letter or a boxed expression, extracted from texts so that they can be counted."""

from langchain_moa.strategies.extract.extractors import EXTRACTORS, Extract, Extractor, auto, boxed, extractor, said, tally
from langchain_moa.strategies.extract.letters import letter
from langchain_moa.strategies.extract.numbers import number

__all__ = ["EXTRACTORS", "Extract", "Extractor", "auto", "boxed", "extractor", "letter", "number", "said", "tally"]
