# MicroPython's Unix port: the tests of device_client/micropython run under it, and the
# client itself needs nothing that is installed here.
#
# Debian 12 has no package of it, so Debian 13's is unpacked below our prefix
# (setup/debian.sh); Debian 13 installs its own. On a PC Debian's 32-bit build of it comes
# beside it: objects have the size there that they have on a board, so its heap is measured.

# micropython_works PROGRAM: new enough, and its sockets have timeouts.
micropython_works() {
    [ -x "$1" ] || return 1
    "$1" -c 'import sys, socket; socket.socket().settimeout(1); sys.exit(sys.implementation.version[:2] < (1, 20))' \
        >/dev/null 2>&1
}

step_micropython() {
    micropython_lost="tests of the MicroPython client, which fail"
    step_micropython_here
    [ "$(uname -m)" != x86_64 ] || step_micropython_32
}

step_micropython_here() {
    for micropython in "$prefix/bin/micropython" "$(command -v micropython || :)"; do
        if [ -n "$micropython" ] && micropython_works "$micropython"; then
            ok "micropython ($micropython)"
            return 0
        fi
    done
    if ! can_apt; then
        lack "MicroPython's Unix port, 1.20 or newer" "sudo ./run setup" "$micropython_lost"
        return 0
    fi
    if micropython_from_system; then return 0; fi
    did "unpacking MicroPython's Unix port of Debian $debian_suite below $prefix, for the tests of the MicroPython client"
    if from_debian micropython usr/bin/micropython && micropython_works "$prefix/bin/micropython"; then
        return 0
    fi
    lack "MicroPython's Unix port, 1.20 or newer" \
        "build it (https://micropython.org) and put micropython on the PATH" "$micropython_lost"
}

step_micropython_32() {
    micropython=$prefix/bin/micropython32
    if micropython_works "$micropython"; then
        ok "micropython32 ($micropython)"
        return 0
    fi
    if can_apt; then
        did "unpacking its 32-bit build below $prefix, on which the client's heap is measured"
        if from_debian micropython usr/bin/micropython micropython32 i386 && micropython_works "$micropython"; then
            return 0
        fi
    fi
    lack "a 32-bit MicroPython as $micropython" "sudo ./run setup, on Debian with a kernel that runs 32-bit programs" \
        "the test of the MicroPython client's heap, which fails"
}

micropython_from_system() {
    micropython_version=$(apt-cache policy micropython 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    case $micropython_version in '' | '(none)') return 1 ;; esac
    dpkg --compare-versions "$micropython_version" ge 1.20 || return 1
    did "installing micropython $micropython_version from the system's packages, for the tests of the MicroPython client"
    apt_install micropython || return 1
    micropython_works "$(command -v micropython)"
}
