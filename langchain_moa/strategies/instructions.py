"""What models are told in more than one strategy."""

FAIR = "Length, tone and confidence are no merits of their own, and neither is the order of the responses."
"""For those who compare or grade."""

PANEL = (
    "You moderate a panel of experts who answer the last message of a conversation in rounds: each round improves on the "
    "responses of the last."
)
"""For those who say whether another layer is needed."""

CONVERGED = "whether the panel has converged on a right and complete answer, so that another round would change nothing."
"""What these look at."""

NO_FURTHER = "the moderator found that no further layer is needed"
"""The reason to end that these give."""
