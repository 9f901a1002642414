# Programs that come from the system's packages: Mosquitto and its command-line clients,
# Docker Engine, runc, BusyBox.

# The service programs are in sbin, which a plain user's PATH may leave out.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

has() { command -v "$1" >/dev/null 2>&1; }

step_packages() {
    packages=
    services=
    without=
    if has mosquitto; then ok "mosquitto"; else
        packages="$packages mosquitto"
        services="$services mosquitto"
        without="nodes (no broker)"
    fi
    if has mosquitto_pub; then ok "mosquitto_pub"; else packages="$packages mosquitto-clients"; fi
    if has dockerd && has containerd; then ok "dockerd, containerd"; else
        packages="$packages docker.io"
        services="$services docker containerd"
        without="${without:+$without, }containers and memory checkpoints (the process runtime works)"
    fi
    if has runc; then ok "runc"; else packages="$packages runc"; fi
    if has busybox; then ok "busybox"; else packages="$packages busybox-static"; fi
    [ -n "$packages" ] || return 0

    if ! can_apt; then
        lack "$(echo $packages)" "sudo apt-get install --no-install-recommends$packages" \
            "${without:-a shell in job images}"
        return 0
    fi
    did "installing$packages from the system's packages; their services stay off"
    for package in $packages; do
        apt_knows "$package" || {
            apt_refresh || :
            break
        }
    done
    # Lists may be older than the mirror: refresh once, then try again.
    # shellcheck disable=SC2086
    if apt_install $packages || { apt_refresh && apt_install $packages; }; then
        leave_disabled $services
    else
        lack "$(echo $packages)" "apt-get install --no-install-recommends$packages" \
            "${without:-a shell in job images}"
    fi
}
