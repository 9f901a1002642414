# A CRIU that can checkpoint on the running kernel.
#
# An old CRIU does not know a new kernel: 3.17 of Debian 12 fails on 6.x with
# "Unexpected rt vDSO area bounds". Where the system's CRIU fails, Debian 13's is
# unpacked below our prefix together with every library it links to, its libc
# included, and started through that libc's own loader. No package of the system
# changes, and no package source is added to it.

criu_suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

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
    criu_mirror=$(debian_mirror) || return 1
    [ -r "$keyring" ] || return 1
    did "unpacking CRIU of Debian $criu_suite below $prefix, because the system has none that passes 'criu check'"
    mkdir -p "$prefix"
    criu_work=$(mktemp -d "$prefix/criu.new.XXXXXX")
    criu_code=0
    criu_unpack "$criu_work" "$criu_mirror" || criu_code=$?
    if [ "$criu_code" -eq 0 ]; then
        rm -rf "$prefix/criu"
        mv "$criu_work/root" "$prefix/criu"
        criu_wrapper
    fi
    rm -rf "$criu_work"
    return "$criu_code"
}

# The mirror that this machine already uses for Debian itself (not for security updates).
debian_mirror() {
    debian_uri=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        sed -n 's/^Debian //p' | head -n 1)
    if [ -z "$debian_uri" ] && apt_refresh; then
        debian_uri=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' |
            sed -n 's/^Debian //p' | head -n 1)
    fi
    [ -n "$debian_uri" ] && printf '%s\n' "$debian_uri"
}

# criu_unpack WORK MIRROR: apt with a state folder of its own and an empty list of
# installed packages, so that it resolves every library down to libc.
criu_unpack() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/root"
    : >"$1/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$2" "$criu_suite" >"$1/sources.list"
    cat >"$1/apt.conf" <<CONF
Dir::State "$1";
Dir::State::lists "$1/lists";
Dir::State::status "$1/status";
Dir::State::extended_states "$1/extended_states";
Dir::Cache "$1/cache";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
CONF
    quietly 'apt-get update' env APT_CONFIG="$1/apt.conf" apt-get -qq update || return 1
    quietly 'apt-get download' env APT_CONFIG="$1/apt.conf" \
        apt-get -qq install --download-only -y --no-install-recommends criu || return 1
    for criu_deb in "$1"/cache/archives/*.deb; do
        dpkg -x "$criu_deb" "$1/root" || return 1
    done
    rm -rf "$1/root/usr/share" "$1/root/usr/lib/"*/gconv "$1/root/etc" "$1/root/var"
}

criu_wrapper() {
    criu_loader=$(find "$prefix/criu/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
    criu_libs=$(dirname "$(find "$prefix/criu/usr/lib" -name 'libc.so.6' | head -n 1)")
    mkdir -p "$prefix/bin"
    printf '#!/bin/sh\nexec %s --library-path %s %s/criu/usr/sbin/criu "$@"\n' \
        "$criu_loader" "$criu_libs" "$prefix" >"$prefix/bin/criu.new"
    chmod 755 "$prefix/bin/criu.new"
    mv "$prefix/bin/criu.new" "$prefix/bin/criu"
}
