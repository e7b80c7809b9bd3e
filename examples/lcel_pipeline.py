"""A mixture from a YAML file in a LangChain chain (LCEL)."""

from __future__ import annotations

from pathlib import Path

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_moa import ChatMoA

# If a key is set, hosted models override those of the file.
instead = {} if OPTIONS else {"proposers": PROPOSERS, "aggregator": AGGREGATOR, "temperature": None, "max_tokens": None}

moa = ChatMoA.from_config(Path(__file__).with_name("moa.yaml"), **instead)
prompt = ChatPromptTemplate.from_messages([("system", "You explain things to a child."), ("user", "What is {thing}?")])
chain = prompt | moa | StrOutputParser()

things = ["a volcano", "a shadow"]
for thing, text in zip(things, chain.batch([{"thing": thing} for thing in things]), strict=True):
    print(f"What is {thing}?\n{text}\n")
