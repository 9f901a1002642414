# The virtual environment, with the versions of constraints.txt.

# find_python: print a Python that is new enough, the machine's default one first.
find_python() {
    for candidate in ${WORKRS_PYTHON-} python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    python=$(find_python) || {
        can_apt || fail "needs Python 3.11 or newer; type: sudo apt-get install python3 python3-venv"
        did "installing python3 and python3-venv, because no Python 3.11 or newer is here"
        apt_install python3 python3-venv || { apt_refresh && apt_install python3 python3-venv; } ||
            fail "could not install Python; set WORKRS_PYTHON to a Python 3.11 or newer"
        python=$(find_python) || fail "the system's Python is older than 3.11; set WORKRS_PYTHON to a newer one"
    }
    # Debian ships Python without ensurepip, which `venv` needs.
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        can_apt || fail "$python cannot make virtual environments; type: sudo apt-get install python3-venv"
        did "installing python3-venv, which $python needs to make a virtual environment"
        apt_install python3-venv || { apt_refresh && apt_install python3-venv; } || fail "could not install python3-venv"
    fi
    did "making .venv with $("$python" --version)"
    rm -rf "$root/.venv"
    quietly 'python -m venv' "$python" -m venv "$root/.venv" || fail "no virtual environment"
}

# compile_sources: as pip does for what it copies. Where Python is told to write no bytecode
# (PYTHONDONTWRITEBYTECODE), each start of a node or agent would compile 300 files, a fifth of its CPU time.
compile_sources() {
    (cd "$root" && .venv/bin/python -m compileall -q broker device_client edge_agent tui workrs) >/dev/null 2>&1 ||
        did "not all sources could be compiled: .venv/bin/python -m compileall -q broker device_client edge_agent tui workrs says which"
}

step_python() {
    stamp=$root/.venv/workrs.stamp
    want=$(cat "$root/constraints.txt" "$root/pyproject.toml" | cksum)
    if [ -x "$root/.venv/bin/workrs" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] &&
        "$root/.venv/bin/python" -c '' 2>/dev/null; then
        compile_sources
        ok "virtual environment"
        return 0
    fi
    "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    did "installing Python packages into .venv, versions from constraints.txt"
    rm -f "$stamp"
    quietly 'pip install' "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root[agent,node,dev]" ||
        fail "pip could not install the packages; a mirror can be set with PIP_INDEX_URL"
    # Its CO2 series is the demo's data. Its code is never run, so what that needs is left out.
    quietly 'pip install' "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --no-deps statsmodels ||
        fail "pip could not install statsmodels, whose data the demo works on"
    printf '%s\n' "$want" >"$stamp"
    compile_sources
}
