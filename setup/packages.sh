# Programs that come from the system's packages: Mosquitto and its command-line clients,
# Docker Engine, runc, BusyBox; for the fault matrix nftables, which cuts networks; for
# the tests alone the model checker Spin, C compilers for this machine and for a
# Cortex-M0, Mbed TLS, Eclipse Paho, Node.js and Chromium, and, from npm, Azurite, MQTT.js and the
# schemas of AsyncAPI.

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
    install_packages "$packages" "$services" "${without:-a shell in job images}"
}

# Spin turns a model into a C program. A compiler without the C library's headers is none.
step_test_packages() {
    packages=
    if has spin; then ok "spin"; else packages="$packages spin"; fi
    if has gcc && [ -e /usr/include/stdio.h ]; then ok "gcc"; else packages="$packages gcc libc6-dev"; fi
    if [ -e /usr/include/mbedtls/ssl.h ]; then ok "libmbedtls-dev"; else packages="$packages libmbedtls-dev"; fi
    install_packages "$packages" "" "tests: the model check (tests/model), the C client and its TLS"
    # promtool comes with the server, which must not begin to run here.
    if has promtool; then packages=; else packages=" prometheus"; fi
    [ -n "$packages" ] || ok "promtool"
    install_packages "$packages" "prometheus" "tests: the alert rules (deploy/prometheus)"
    # A real browser drives the dashboard's page and the one that nodes serve. It is no service.
    packages=
    if has chromium; then ok "chromium"; else packages=" chromium"; fi
    install_packages "$packages" "" "tests: the pages in a browser (tests/web), which fail"
    # Its checker of units, and what the machines of tests/acceptance boot; 3 MB to fetch. Nothing
    # starts: only PID 1 would run it.
    packages=
    if has systemd-analyze; then ok "systemd-analyze"; else packages=" systemd"; fi
    install_packages "$packages" "" "tests: the systemd units, which fail"
    # The shells, other than bash, that completion is for; 9 MB to fetch.
    packages=
    if has zsh; then ok "zsh"; else packages="$packages zsh"; fi
    if has fish; then ok "fish"; else packages="$packages fish"; fi
    install_packages "$packages" "" "tests: completion in zsh and fish"
    # 48 MB to fetch. Its C library, another 45, is not needed: the client calls none.
    packages=
    if has arm-none-eabi-gcc; then ok "arm-none-eabi-gcc"; else packages=" gcc-arm-none-eabi"; fi
    install_packages "$packages" "" "tests: the C client's size on a Cortex-M0"
}

# What docs/recipes.md is written for. Node.js only where there is none: its version is its owner's.
step_recipe_packages() {
    packages=
    if [ -e /usr/include/MQTTClient.h ]; then ok "libpaho-mqtt-dev"; else packages="$packages libpaho-mqtt-dev"; fi
    if has node && has npm; then ok "node, npm"; else packages="$packages nodejs npm"; fi
    install_packages "$packages" "" "tests: the recipes for C and Node.js, which fail"
}

# What comes from npm, each below $prefix/FOLDER with a version of its own. Azurite speaks Azure's
# protocol (186 MB; later versions want Node 22 and take 365 MB); AsyncAPI's schemas (7 MB) and parser
# (55 MB) are what docs/asyncapi.json is held against; MQTT.js is of the recipes (15 MB).
step_npm_packages() {
    npm_package mqtt-js mqtt 5.14.1 "tests: the recipe for Node.js, which fails"
    npm_package asyncapi @asyncapi/specs 6.11.1 "tests: docs/asyncapi.json is not validated, which fails"
    npm_package asyncapi-parser @asyncapi/parser 3.6.3 "tests: docs/asyncapi.json is not parsed, which fails"
    if has azurite-blob; then ok "azurite"; else
        npm_package azurite azurite 3.34.0 "tests: the Azure store"
    fi
}

# npm_package FOLDER PACKAGE VERSION CONSEQUENCE: nothing if it is there.
npm_package() {
    if [ -d "$prefix/$1/node_modules/$2" ]; then
        ok "$2 (npm)"
        return 0
    fi
    if ! has npm || ! is_root; then
        lack "$2 (npm)" "install Node.js with npm, then: sudo ./run setup" "$4"
        return 0
    fi
    did "installing $2 with npm below $prefix, for the tests"
    mkdir -p "$prefix/$1"
    quietly 'npm install' npm install --prefix "$prefix/$1" --no-audit --no-fund \
        --ignore-scripts --omit=optional "$2@$3" ||
        lack "$2 (npm)" "npm install --prefix $prefix/$1 $2@$3" "$4"
}

step_fault_packages() {
    packages=
    if has nft && has ip; then ok "nft, ip"; else packages="$packages nftables iproute2"; fi
    install_packages "$packages" "nftables" "network faults"
}

# install_packages PACKAGES SERVICES CONSEQUENCE: nothing if PACKAGES is empty.
install_packages() {
    [ -n "$1" ] || return 0
    if ! can_apt; then
        lack "$(echo $1)" "sudo apt-get install --no-install-recommends$1" "$3"
        return 0
    fi
    did "installing$1 from the system's packages; their services stay off"
    for package in $1; do
        apt_knows "$package" || {
            apt_refresh || :
            break
        }
    done
    # Lists may be older than the mirror: refresh once, then try again.
    # shellcheck disable=SC2086
    if apt_install $1 || { apt_refresh && apt_install $1; }; then
        leave_disabled $2
    else
        lack "$(echo $1)" "apt-get install --no-install-recommends$1" "$3"
    fi
}
