#!/bin/sh
# Times submissions with Slurm and Apptainer: a campaign on one node, or one array job per study.
#
#     sbatch docker/slurm.sh algoperf.sif autumn.toml
#     sbatch --array=1-5 docker/slurm.sh algoperf.sif nadamw ogbg jax
#
# Arguments: the image and the plan of a campaign, whose paths must lie in or below its folder; or the image,
# the name of a folder in reference_algorithms/, the workload, the framework. A campaign over many nodes
# needs no script: see docs/campaigns.md. DATA and EXPERIMENTS are the folders with prepared data and
# for logs. Every job gets its node to itself, because what runs beside a trial slows it down. Slurm announces
# the end of a job with SIGTERM: the trial then writes a checkpoint, the job is requeued, and the next one
# goes on from it.
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

preempted=75 # the exit status of `algoperf run` and `campaign run` after SIGTERM
binds="${DATA:-$PWD/data}:/data,${EXPERIMENTS:-$PWD/experiments}:/experiments"

# What is finished already is left alone by both commands, which are repeated when a job is requeued.
run_campaign() { # IMAGE PLAN
  folder=$(cd "$(dirname "$2")" && pwd) || exit 2
  name=$(basename "$2")
  exec apptainer run --nv --no-home --bind "$binds,$folder:/plan" "$1" \
    campaign run "/plan/$name" --folder "/experiments/${name%.toml}" --data-dir /data
}

run_study() { # IMAGE ALGORITHM WORKLOAD FRAMEWORK
  # PyTorch runs one process per GPU.
  case $4 in
    pytorch) processes="--num-processes ${SLURM_GPUS_ON_NODE:-1}" ;;
    *) processes="" ;;
  esac
  # shellcheck disable=SC2086 # an option and its value
  exec apptainer run --nv --no-home --bind "$binds" "$1" \
    run "reference_algorithms/$2/submission_$4.py" \
    --workload "$3" --framework "$4" $processes \
    --search-space "reference_algorithms/$2/tuning_search_space.json" \
    --first-study "$SLURM_ARRAY_TASK_ID" --studies 1 \
    --experiment-dir /experiments --resume
}

# SIGTERM reaches this script alone (--signal=B:), which hands it on and waits for the checkpoint.
run="" is_ended=""
trap 'is_ended=1; [ -z "$run" ] || kill -TERM "$run"' TERM

case $# in
  2)
    [ -f "$2" ] || {
      echo "slurm.sh: there is no plan $2." >&2
      exit 2
    }
    job=${SLURM_JOB_ID-}
    run_campaign "$@" &
    ;;
  4)
    if [ -z "${SLURM_ARRAY_TASK_ID-}" ]; then
      echo "slurm.sh: the number of the study is that of the array job; start it with --array=1-5." >&2
      exit 2
    fi
    job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    run_study "$@" &
    ;;
  *)
    echo "Usage: sbatch docker/slurm.sh IMAGE PLAN.toml
       sbatch --array=1-STUDIES docker/slurm.sh IMAGE ALGORITHM WORKLOAD FRAMEWORK" >&2
    exit 2
    ;;
esac
run=$!
[ -z "$is_ended" ] || kill -TERM "$run" # it came before there was a process to hand it to
wait "$run"
status=$?
while kill -0 "$run" 2>/dev/null; do
  wait "$run"
  status=$?
done
if [ "$status" = $preempted ]; then
  scontrol requeue "$job"
fi
exit "$status"
