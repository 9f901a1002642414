#!/bin/sh
# Install what the project needs on this machine; do nothing where it is in place.
#
# 1. Only a missing Python or virtual environment ends the set-up with an error:
#    without the rest, less works, and each step says what.
# 2. Whatever is already on the machine stays as it is: no service is started,
#    stopped, enabled or configured, no package of the system is replaced.
# 3. Every step can be repeated, and takes up again where a killed one stopped.
#
# `setup.sh faults` installs what only the fault matrix needs, too; `setup.sh test` that
# and what only the tests need.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
prefix=${WORKRS_PREFIX:-/opt/workrs}

. "$root/setup/report.sh"
. "$root/setup/apt.sh"
. "$root/setup/python.sh"
. "$root/setup/packages.sh"
. "$root/setup/debian.sh"
. "$root/setup/criu.sh"
. "$root/setup/micropython.sh"
. "$root/setup/runtime.sh"

# Two set-ups at once would fight for apt and the virtual environment.
if command -v flock >/dev/null 2>&1; then
    mkdir -p "$root/.workrs"
    exec 9>"$root/.workrs/setup.lock"
    flock -n 9 || {
        did "waiting for another set-up of this checkout"
        flock 9
    }
fi

step_packages
case ${1-} in faults | test) step_fault_packages ;; esac
[ "${1-}" != test ] || {
    step_test_packages
    step_recipe_packages
    step_npm_packages
    step_micropython
}
step_python
step_criu
step_runtime
report_end
