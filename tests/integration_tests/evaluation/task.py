"""An Inspect task as a user writes it."""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate, system_message


@task
def sums() -> Task:
    samples = [Sample(input=f"What is {a} + 2?", target=str(a + 2)) for a in (3, 4)]
    return Task(dataset=samples, solver=[system_message("Be brief."), generate()], scorer=match(numeric=True))
