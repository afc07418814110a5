"""What the exit status of `algoperf` and of a trial's process says; here and nowhere else."""

OK = 0
FAILED = 1  # a trial failed; a check found something; the results could not be printed
WRONG_INPUT = 2  # nothing was started; one sentence says why
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: run it again, with --resume
