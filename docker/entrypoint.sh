#!/bin/sh
# Starts a command in an image, after a look at what the host gave the container.
#
#     entrypoint.sh reproduce NAME …        docker/reproduce.sh
#     entrypoint.sh python|sh|pytest …      that program
#     entrypoint.sh COMMAND …               algoperf COMMAND …
#
# Only what the command needs is checked. What is wrong is said in one sentence, with status 2.
# MIN_FREE_MIB (default 1024) is the least free space of /experiments for a run. ALGOPERF_DATA_DIR and
# EXPERIMENTS are the folders that are checked (/data, /experiments); the links of the image lead there.
set -eu

data=${ALGOPERF_DATA_DIR:-/data}
experiments=${EXPERIMENTS:-/experiments}
min_driver=580 # of CUDA 13

fail() {
  echo "entrypoint: error: $1" >&2
  exit 2
}

warn() { echo "entrypoint: warning: $1" >&2; }

# Some libraries ask for the user's name or home; a --user without an entry in passwd has neither.
name_the_user() {
  if [ -z "${HOME-}" ] || [ ! -w "$HOME" ]; then export HOME=/tmp; fi
  if ! id -un >/dev/null 2>&1; then
    USER=uid$(id -u)
    export USER LOGNAME="$USER"
  fi
}

# writes_to FOLDER: whether a file can really be made there; file systems may refuse it despite the mode.
writes_to() {
  probe=$1/.entrypoint-$$
  (: >"$probe") 2>/dev/null && rm -f "$probe"
}

check_writable() { # FOLDER, a FOLDER of the host as example
  [ -d "$1" ] || fail "there is no folder $1; mount one, for example with -v \"$2:$1\"."
  writes_to "$1" || fail "user $(id -u):$(id -g) cannot write to $1, which belongs to \
$(stat -c %u:%g "$1"); mount a folder that this user owns (-v \"$2:$1\"), or start the container as \
you (--user \"\$(id -u):\$(id -g)\")."
  grep -q " $1 " /proc/self/mountinfo || warn "$1 is no volume, so what is written there goes away \
with the container; mount a folder with -v \"$2:$1\"."
}

check_temporary() {
  writes_to "${TMPDIR:-/tmp}" || fail "user $(id -u):$(id -g) cannot write to ${TMPDIR:-/tmp}; a \
container with a read-only root needs --tmpfs /tmp."
}

# free_mib FOLDER, size_mib FOLDER: MiB free in, size of, the file system that holds it.
free_mib() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }
size_mib() { df -Pk "$1" | awk 'NR == 2 { print int($2 / 1024) }'; }

check_space() {
  free=$(free_mib "$experiments")
  [ "$free" -ge "${MIN_FREE_MIB:-1024}" ] || fail "only $free MiB are free in $experiments, which gets \
logs and checkpoints; free some, mount a larger volume, or lower MIN_FREE_MIB (${MIN_FREE_MIB:-1024})."
}

check_shared_memory() {
  writes_to /dev/shm || fail "/dev/shm is missing or read-only, and processes need \
it to share memory; start the container with --shm-size=1g."
  [ "$ALGOPERF_DEVICE" = cuda ] || return 0
  size=$(size_mib /dev/shm)
  [ "$size" -ge 1000 ] || warn "/dev/shm has $size MiB, too little for several processes with NCCL; \
start the container with --shm-size=1g."
}

check_gpus() {
  [ "$ALGOPERF_DEVICE" = cuda ] || return 0
  command -v nvidia-smi >/dev/null || fail "this image is for GPUs and the container has none; start it \
with --gpus all (Docker) or --nv (Apptainer) on a host with NVIDIA's driver and container toolkit."
  listed=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>&1) ||
    fail "nvidia-smi finds no usable GPU ($(echo "$listed" | head -n 1)); check the host's driver."
  driver=$(echo "$listed" | head -n 1)
  case ${driver%%.*} in
    '' | *[!0-9]*) fail "nvidia-smi finds no usable GPU ($driver); check the host's driver." ;;
  esac
  [ "${driver%%.*}" -ge $min_driver ] || fail "the host's driver $driver is too old for CUDA 13; it \
needs $min_driver or newer."
}

# is_given OPTION ARGUMENT…: whether the option is among the arguments, as --option or --option=value.
is_given() {
  wanted=$1
  shift
  for argument; do
    case $argument in "$wanted" | "$wanted"=*) return 0 ;; esac
  done
  return 1
}

check_data() { # ARGUMENT…
  is_given --data-dir "$@" || check_writable "$data" "\$PWD/data"
}

check_experiments() { # ARGUMENT…
  is_given --experiment-dir "$@" && return
  check_writable "$experiments" "\$PWD/experiments"
  check_space
}

check() { # COMMAND ARGUMENT…
  is_given --help "$@" || is_given -h "$@" && return
  case $1 in
    prepare | run | targets | reproduce | check) check_temporary ;;
  esac
  case $1 in
    prepare | reproduce) check_data "$@" ;;
  esac
  case $1 in
    run | targets | reproduce)
      check_experiments "$@"
      check_gpus
      check_shared_memory
      ;;
  esac
}

ALGOPERF_DEVICE=${ALGOPERF_DEVICE:-cpu}
name_the_user
[ $# -gt 0 ] || set -- list
check "$@"
case $1 in
  reproduce)
    shift
    exec "$(dirname "$0")/reproduce.sh" "$@"
    ;;
  python | python3 | sh | bash | pytest) exec "$@" ;;
  *) exec algoperf "$@" ;;
esac
