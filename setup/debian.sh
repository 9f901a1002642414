# Programs of a newer Debian, beside the system's: unpacked below our prefix together with
# every library they link to, libc included, and started through that libc's own loader.
# No package of the system changes, and no package source is added to it.

debian_suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# from_debian PACKAGE PROGRAM [NAME ARCHITECTURE]: unpack PACKAGE below $prefix/NAME and write a
# wrapper $prefix/bin/NAME for PROGRAM, its path in the package, for example usr/sbin/criu.
from_debian() {
    debian_name=${3-$1}
    debian_architecture=${4-$(dpkg --print-architecture)}
    debian_from=$(debian_mirror) || return 1
    [ -r "$keyring" ] || return 1
    mkdir -p "$prefix"
    debian_work=$(mktemp -d "$prefix/$debian_name.new.XXXXXX")
    debian_code=0
    debian_unpack "$debian_work" "$debian_from" "$1" || debian_code=$?
    if [ "$debian_code" -eq 0 ]; then
        rm -rf "${prefix:?}/$debian_name"
        mv "$debian_work/root" "$prefix/$debian_name"
        debian_wrapper "$debian_name" "$2"
    fi
    rm -rf "$debian_work"
    return "$debian_code"
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

# debian_unpack WORK MIRROR PACKAGE: apt with a state folder of its own and an empty list of
# installed packages, so that it resolves every library down to libc.
debian_unpack() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/root"
    : >"$1/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$2" "$debian_suite" >"$1/sources.list"
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
APT::Architecture "$debian_architecture";
APT::Architectures { "$debian_architecture"; };
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
CONF
    quietly 'apt-get update' env APT_CONFIG="$1/apt.conf" apt-get -qq update || return 1
    quietly 'apt-get download' env APT_CONFIG="$1/apt.conf" \
        apt-get -qq install --download-only -y --no-install-recommends "$3" || return 1
    for debian_deb in "$1"/cache/archives/*.deb; do
        dpkg -x "$debian_deb" "$1/root" || return 1
    done
    rm -rf "$1/root/usr/share" "$1/root/usr/lib/"*/gconv "$1/root/etc" "$1/root/var"
}

debian_wrapper() { # NAME PROGRAM
    debian_loader=$(find "$prefix/$1/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
    debian_libs=$(dirname "$(find "$prefix/$1/usr/lib" -name 'libc.so.6' | head -n 1)")
    debian_bin=$prefix/bin/$1
    mkdir -p "$prefix/bin"
    printf '#!/bin/sh\nexec %s --library-path %s %s/%s/%s "$@"\n' \
        "$debian_loader" "$debian_libs" "$prefix" "$1" "$2" >"$debian_bin.new"
    chmod 755 "$debian_bin.new"
    mv "$debian_bin.new" "$debian_bin"
}
