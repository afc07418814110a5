#!/bin/sh
# Reproduces a baseline: prepares its data, runs it, scores it and compares with docker/expected.json.
#
#     docker/reproduce.sh NAME [--framework jax|pytorch] [--raw DIR] [--data-dir DIR]
#                              [--experiment-dir DIR] [--overwrite] [-- OPTION OF algoperf run…]
#
# It works in an image and in a checkout whose environment has algoperf. Without --framework all
# installed ones take their turn. Trials that an earlier call has finished count; --overwrite repeats
# them. Exit status: 0 reproduced, 1 not reproduced, 2 wrong input or missing data, 75 interrupted.
set -eu

usage() {
  echo "Usage: reproduce.sh NAME [--framework jax|pytorch] [--raw DIR] [--data-dir DIR]
                    [--experiment-dir DIR] [--overwrite] [-- OPTION OF algoperf run…]
NAME is one of:"
  python3 "$here/expected.py" names | sed 's/^/  /'
}

fail() {
  echo "reproduce: error: $1" >&2
  exit 2
}

absolute() {
  case $1 in '' | /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac
}

# reproduce_in FRAMEWORK OPTION…: status 0 if reproduced, 1 if not, anything else if it could not be run.
reproduce_in() {
  framework=$1
  shift
  logs=$experiments/$name-$framework
  run=$(python3 "$here/expected.py" run "$name" "$framework") || return 2
  score=$(python3 "$here/expected.py" score "$name") || return 2
  # A trial that failed counts as a miss (1); whatever else went wrong ends it, as an interruption does
  # (75: the same call resumes it).
  ended=0
  # shellcheck disable=SC2086 # lists of arguments
  algoperf run $run --experiment-dir "$logs" --experiment-name "${name%%-*}" "$existing" \
    ${data:+--data-dir "$data"} "$@" || ended=$?
  [ $ended -le 1 ] || return $ended
  # shellcheck disable=SC2086
  algoperf score "$logs" $score --json "$logs/board.json" >"$logs/board.txt" || return 2
  python3 "$here/expected.py" compare "$name" "$framework" "$logs/board.json"
}

here=$(cd "$(dirname "$0")" && pwd)
if ! command -v algoperf >/dev/null && [ -x "$here/../.venv/bin/algoperf" ]; then
  PATH=$(cd "$here/../.venv/bin" && pwd):$PATH
fi
command -v algoperf >/dev/null || fail "there is no algoperf on the PATH; install it: pip install -e ."

name='' frameworks='' raw='' data='' experiments=$PWD/experiments/reproduce existing=--resume
while [ $# -gt 0 ]; do
  case $1 in
    --framework | --raw | --data-dir | --experiment-dir) [ $# -gt 1 ] || fail "$1 needs a value." ;;
  esac
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --framework) frameworks=$2 && shift ;;
    --raw) raw=$2 && shift ;;
    --data-dir) data=$2 && shift ;;
    --experiment-dir) experiments=$2 && shift ;;
    --overwrite) existing=--overwrite ;;
    --)
      shift
      break
      ;;
    -*) fail "there is no option $1; --help shows all." ;;
    *)
      [ -z "$name" ] || fail "one name at a time; '$name' and '$1' were given."
      name=$1
      ;;
  esac
  shift
done
[ -n "$name" ] || {
  usage >&2
  exit 2
}

# Folders that were given are relative to where the caller is; files of baselines to the checkout.
raw=$(absolute "$raw") data=$(absolute "$data") experiments=$(absolute "$experiments")
cd "$here/.."
workload=$(python3 "$here/expected.py" workload "$name")
[ -n "$frameworks" ] || frameworks=$(python3 "$here/expected.py" frameworks "$name")
for framework in $frameworks; do
  python3 "$here/expected.py" run "$name" "$framework" >/dev/null
done
algoperf prepare "$workload" ${data:+--data-dir "$data"} ${raw:+--raw "$raw"}

status=0
for framework in $frameworks; do
  mkdir -p "$experiments/$name-$framework"
  result=0
  reproduce_in "$framework" "$@" || result=$?
  [ $result -le 1 ] || exit $result
  [ $result = 0 ] || status=1
done
exit $status
