# Our OCI runtime, copied to where a Docker Engine of the machine can be told to find it.

step_runtime() {
    runtime=$root/workrs/oci/workrs-runc
    if cmp -s "$runtime" "$prefix/bin/workrs-runc"; then
        ok "OCI runtime ($prefix/bin/workrs-runc)"
        return 0
    fi
    if ! is_root; then
        lack "the OCI runtime $prefix/bin/workrs-runc" "sudo ./run setup" "restoring the memory of containers"
        return 0
    fi
    did "copying the OCI runtime to $prefix/bin/workrs-runc, from where container engines call it"
    mkdir -p "$prefix/bin"
    # A new file under the old name: an engine may be running the old one right now.
    cp "$runtime" "$prefix/bin/workrs-runc.new"
    chmod 755 "$prefix/bin/workrs-runc.new"
    mv "$prefix/bin/workrs-runc.new" "$prefix/bin/workrs-runc"
}
