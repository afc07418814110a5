#!/bin/sh
# Times a submission on one workload with Slurm and Apptainer: one array job per study.
#
#     sbatch --array=1-5 docker/slurm.sh algoperf.sif nadamw ogbg jax
#
# Arguments: the image, the name of a folder in reference_algorithms/, the workload, the framework.
# DATA and EXPERIMENTS are the folders with prepared data and for logs. Every job gets its node to
# itself, because what runs beside a trial slows it down. Slurm announces the end of a job with SIGTERM:
# the trial then writes a checkpoint, the job is requeued, and the next one resumes it.
#SBATCH --job-name=algoperf
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=algoperf-%A-%a.log
#SBATCH --signal=B:TERM@180
set -u

preempted=75 # the exit status of `algoperf run` after SIGTERM

if [ $# -ne 4 ]; then
  echo "Usage: sbatch --array=1-STUDIES docker/slurm.sh IMAGE ALGORITHM WORKLOAD FRAMEWORK" >&2
  exit 2
fi
image=$1 algorithm=$2 workload=$3 framework=$4
if [ -z "${SLURM_ARRAY_TASK_ID-}" ]; then
  echo "slurm.sh: the number of the study is that of the array job; start it with --array=1-5." >&2
  exit 2
fi

# PyTorch runs one process per GPU.
case $framework in
  pytorch) processes="--num-processes ${SLURM_GPUS_ON_NODE:-1}" ;;
  *) processes="" ;;
esac

# The command that is repeated: everything of one study. What is finished already is left alone.
# shellcheck disable=SC2086 # an option and its value
apptainer run --nv --no-home \
  --bind "${DATA:-$PWD/data}:/data,${EXPERIMENTS:-$PWD/experiments}:/experiments" "$image" \
  run "reference_algorithms/$algorithm/submission_$framework.py" \
  --workload "$workload" --framework "$framework" $processes \
  --search-space "reference_algorithms/$algorithm/tuning_search_space.json" \
  --first-study "$SLURM_ARRAY_TASK_ID" --studies 1 \
  --experiment-dir /experiments --resume &
run=$!
# SIGTERM reaches this script alone (--signal=B:), which hands it on and waits for the checkpoint.
trap 'kill -TERM "$run"' TERM
wait "$run"
status=$?
while kill -0 "$run" 2>/dev/null; do
  wait "$run"
  status=$?
done
if [ "$status" = $preempted ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
