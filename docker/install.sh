#!/bin/sh
# Installs into /opt/venv while an image is built; the Dockerfile calls it in /build.
#
#     install.sh dependencies FRAMEWORK DEVICE PACKAGES    what the benchmark and PACKAGES need
#     install.sh dev                                       what the tests need
#     install.sh code                                      the checkout in /opt/algoperf
#
# Versions are those of constraints-*.txt; `dependencies` leaves those that it used in constraints.txt.
set -eu

build=/build
# The variable, unlike the option, also holds for the environment in which the code is built.
export PIP_CONSTRAINT=$build/constraints.txt

fail() {
  echo "install.sh: error: $1" >&2
  exit 2
}

pip_install() { /opt/pip/bin/pip --python /opt/venv/bin/python install --quiet "$@"; }

# drop_tests: the packages' own tests are never run, and are 5 % of an image.
drop_tests() {
  find /opt/venv/lib -type d -name tests -prune -exec rm -r {} +
}

# requirements_of EXTRA…: a file with what pyproject.toml asks for.
requirements_of() {
  python3 "$build/requirements.py" "$build/pyproject.toml" "$@" >"$build/requirements.txt"
}

dependencies() {
  framework=$1 device=$2 packages=$3
  case $framework in
    none) set -- ;;
    jax) set -- jax data ;;
    torch) set -- torch data ;;
    both) set -- jax torch data ;;
    *) fail "FRAMEWORK is '$framework'; it must be jax, torch, both or none." ;;
  esac
  requirements_of "$@"
  case $device-$framework in
    cpu-*) cp "$build/constraints-$framework.txt" "$PIP_CONSTRAINT" ;;
    cuda-none) fail "DEVICE=cuda needs a FRAMEWORK: jax, torch or both." ;;
    cuda-*) cp "$build/constraints-cuda.txt" "$PIP_CONSTRAINT" ;;
    *) fail "DEVICE is '$device'; it must be cpu or cuda." ;;
  esac
  case $device-$framework in
    cuda-jax | cuda-both) echo "jax[cuda13]" >>"$build/requirements.txt" ;;
  esac
  # shellcheck disable=SC2086 # a list of packages
  if pip_install --requirement "$build/requirements.txt" $packages; then
    drop_tests
    return
  fi
  case $device-$framework in
    cpu-torch | cpu-both)
      fail "pip failed, see above. If it found no torch with '+cpu' in its version: give it the index of \
PyTorch's CPU builds, in a pip.conf as extra-index-url, with --secret id=pip.conf,src=pip.conf." ;;
    *) fail "pip failed, see above." ;;
  esac
}

# The links and folders that the image has besides the code: /data and /experiments are volumes. Any user
# may write there, so that volumes without an owner of their own work too.
code() {
  pip_install --no-deps --editable /opt/algoperf
  python3 -m compileall -q /opt/algoperf
  chmod -R a+rX /opt/algoperf
  mkdir -p /volumes/data /volumes/experiments
  chmod 1777 /volumes/data /volumes/experiments
  ln -sfn /experiments /opt/algoperf/experiments
}

case ${1-} in
  dependencies) dependencies "$2" "$3" "$4" ;;
  dev)
    requirements_of dev
    pip_install --requirement "$build/requirements.txt"
    ;;
  code) code ;;
  *) fail "the first argument must be dependencies, dev or code." ;;
esac
