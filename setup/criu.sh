# A CRIU that can checkpoint on the running kernel.
#
# An old CRIU does not know a new kernel: 3.17 of Debian 12 fails on 6.x with
# "Unexpected rt vDSO area bounds". Where the system's CRIU fails, Debian 13's is
# unpacked below our prefix (setup/debian.sh).

# criu_works PROGRAM: `criu check`, remembered per program and kernel.
criu_works() {
    [ -x "$1" ] || return 1
    is_root || return 0 # the check itself needs root
    criu_seen="$1 $(uname -r) $(cksum <"$1")"
    if [ "$(cat "$prefix/criu.checked" 2>/dev/null)" = "$criu_seen" ]; then return 0; fi
    "$1" check >/dev/null 2>&1 || return 1
    mkdir -p "$prefix"
    printf '%s\n' "$criu_seen" >"$prefix/criu.checked"
}

step_criu() {
    criu_system=$(command -v criu || :)
    for criu in "$prefix/bin/criu" "$criu_system"; do
        if [ -n "$criu" ] && criu_works "$criu"; then
            ok "criu ($criu)"
            return 0
        fi
    done
    criu_lost="checkpoints of memory (jobs restart from their own files)"
    if ! can_apt; then
        lack "a CRIU that passes 'criu check'" "sudo ./run setup" "$criu_lost"
        return 0
    fi
    if [ -z "$criu_system" ] && criu_from_system; then return 0; fi
    if criu_from_debian; then
        criu_works "$prefix/bin/criu" && return 0
        lack "a CRIU that works on kernel $(uname -r)" "$prefix/bin/criu check" "$criu_lost"
    else
        lack "a CRIU that passes 'criu check'" "$(criu_hint)" "$criu_lost"
    fi
}

# Where the distribution has no CRIU that works, the CRIU project's own archive for Ubuntu has.
criu_hint() {
    case $(. /etc/os-release && echo "${ID-}") in
    ubuntu) echo "add-apt-repository ppa:criu/ppa && apt-get install criu" ;;
    *) echo "install CRIU 4 or newer, see https://criu.org/Installation" ;;
    esac
}

# A release as new as Debian 13 has a CRIU worth trying; an older one is passed over,
# because its package would only add to the system what then does not work.
criu_from_system() {
    criu_version=$(apt-cache policy criu 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    case $criu_version in '' | '(none)') return 1 ;; esac
    dpkg --compare-versions "$criu_version" ge 4.0 || return 1
    did "installing criu $criu_version from the system's packages, for checkpoints of memory"
    apt_install criu || return 1
    criu_works "$(command -v criu)"
}

criu_from_debian() {
    did "unpacking CRIU of Debian $debian_suite below $prefix, because the system has none that passes 'criu check'"
    from_debian criu usr/sbin/criu
}
