# What the set-up says: one line for each thing done, `ok` lines only under -v.

lacking=0

did() { # WHAT WHY
    printf 'setup: %s\n' "$*" >&2
}

ok() {
    [ -z "${WORKRS_SETUP_VERBOSE-}" ] || printf 'setup: ok  %s\n' "$*" >&2
}

# lack WHAT TYPE-THIS CONSEQUENCE: something is missing that cannot be installed from here.
lack() {
    lacking=$((lacking + 1))
    printf 'setup: missing: %s\n       type:    %s\n       without: %s\n' "$1" "$2" "$3" >&2
}

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# quietly WHAT COMMAND...: run a command and show its output only if it fails.
quietly() {
    quietly_what=$1
    shift
    quietly_log=$(mktemp)
    if "$@" >"$quietly_log" 2>&1 </dev/null; then
        rm -f "$quietly_log"
        return 0
    fi
    printf 'setup: %s failed, the last lines were:\n' "$quietly_what" >&2
    tail -n 15 "$quietly_log" | sed 's/^/       /' >&2
    rm -f "$quietly_log"
    return 1
}

report_end() {
    if [ "$lacking" -gt 0 ]; then
        printf 'setup: went on without the above; ./run doctor shows what works\n' >&2
    fi
}
