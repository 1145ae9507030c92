"""The results of runs, comparisons and studies, for Python."""

from contrail.results.comparison import Comparison
from contrail.results.run import Result
from contrail.results.study import Study

__all__ = ["Comparison", "Result", "Study"]
