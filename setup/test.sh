#!/bin/sh
# Every check of the repository. The exit code counts all of them; pytest comes last
# because its closing line is what a reader of the log looks for.
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1
bin=$root/.venv/bin
failed=

check() { # NAME COMMAND...
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed="$failed $name"
}

# With arguments, only pytest, with those arguments: ./run test tests/unit -x
if [ $# -gt 0 ]; then
    exec "$bin/python" -m pytest "$@"
fi

check ruff "$bin/ruff" check .
check format "$bin/ruff" format --check .
check mypy "$bin/mypy"
check lint-imports "$bin/lint-imports"
[ -z "$failed" ] || printf '== failed:%s\n' "$failed"
printf '== pytest\n'
"$bin/python" -m pytest || exit 1
[ -z "$failed" ]
