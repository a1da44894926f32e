"""Pictures of a model's memory. Needs matplotlib: the extra `plot`.

Every function returns a `matplotlib.figure.Figure`, and all but `overview` draw into a Figure or SubFigure of yours
where they are given one (`into`).
Nothing is shown and no setting of matplotlib's is touched; `figure.savefig("memory.png")` writes a file, with or
without a screen.
"""

from lstmcore.plot.lengths import accuracy, vanishing_gradient
from lstmcore.plot.memory import attribution, gates, overview, score, state

__all__ = ["accuracy", "attribution", "gates", "overview", "score", "state", "vanishing_gradient"]
