"""An engine that runs each attempt in the test's own process."""

from algoperf.campaign.attempt import Job
from algoperf.campaign.engines import Ended
from algoperf.runner import experiment


class InProcess:
    """Runs a trial when it is asked what has ended."""

    name = "in process"
    slots = 1

    def __init__(self) -> None:
        self._left: list[tuple[str, Job]] = []

    def start(self, key: str, job: Job) -> None:
        self._left.append((key, job))

    def ended(self, seconds: float) -> list[Ended]:
        if not self._left:
            return []
        key, job = self._left.pop()
        settings = job.plan.settings.from_json(
            {
                **job.plan.settings.as_json(),
                "isolate": False,
                "first_study": job.plan.study,
                "num_studies": 1,
                "first_trial": job.plan.trial,
                "last_trial": job.plan.trial,
            }
        )
        experiment.run(settings, lambda line: None)
        return [Ended(key)]

    def stop(self) -> None:
        self._left.clear()

    def close(self) -> None:
        self._left.clear()
