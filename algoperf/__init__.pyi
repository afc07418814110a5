"""The types of the public names, which `__init__.py` loads when they are first used."""

from algoperf.api import AlgoPerfError as AlgoPerfError
from algoperf.api import EvaluationRow as EvaluationRow
from algoperf.api import Leaderboard as Leaderboard
from algoperf.api import Outcome as Outcome
from algoperf.api import OutcomeRecord as OutcomeRecord
from algoperf.api import Results as Results
from algoperf.api import Trial as Trial
from algoperf.api import TrialInfo as TrialInfo
from algoperf.api import TrialObserver as TrialObserver
from algoperf.api import load as load
from algoperf.api import run as run

__version__: str
__all__: list[str]
