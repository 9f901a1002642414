# Packages of the system, installed without starting a service.

is_root() { [ "$(id -u)" -eq 0 ]; }

can_apt() { is_root && command -v apt-get >/dev/null 2>&1; }

policy=/usr/sbin/policy-rc.d
policy_saved=$policy.before-workrs

# Debian asks policy-rc.d before a package starts its service; 101 means "must not".
deny_starts() {
    allow_starts # what a killed set-up may have left
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        mv -f "$policy" "$policy_saved"
    fi
    printf '#!/bin/sh\n# Temporary, written by the set-up of workrs.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

allow_starts() {
    if [ -f "$policy" ] && grep -q 'set-up of workrs' "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$policy_saved" ] || [ -L "$policy_saved" ]; then
        mv -f "$policy_saved" "$policy"
    fi
}

apt_quiet() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

# A machine made from an image often has no package lists yet.
apt_refresh() {
    quietly 'apt-get update' apt_quiet update
}

apt_knows() {
    apt-cache --quiet=0 show "$1" >/dev/null 2>&1
}

# apt_install PACKAGE...: without recommended packages, starts denied.
apt_install() {
    deny_starts
    trap 'allow_starts; exit 130' INT TERM HUP
    apt_install_code=0
    quietly 'apt-get install' apt_quiet install -y --no-install-recommends "$@" || apt_install_code=$?
    allow_starts
    trap - INT TERM HUP
    return "$apt_install_code"
}

# leave_disabled SERVICE...: a package enables its services for the next boot; the
# project runs its own processes, so services that came with it stay off. Works without
# systemd running, as systemctl does not; the variable stands for a package's script,
# from which alone deb-systemd-helper wants to be called.
leave_disabled() {
    for leave_disabled_name in "$@"; do
        for leave_disabled_unit in "$leave_disabled_name.service" "$leave_disabled_name.socket"; do
            DPKG_MAINTSCRIPT_PACKAGE=$leave_disabled_name \
                deb-systemd-helper disable "$leave_disabled_unit" >/dev/null 2>&1 || :
        done
        [ ! -e "/etc/init.d/$leave_disabled_name" ] ||
            update-rc.d "$leave_disabled_name" disable >/dev/null 2>&1 || :
    done
}
