#!/bin/sh
# What the official image does before its engine starts, as far as a container needs it.
set -e
# cgroup v2: a group hands its controllers down only while no process is in it; a health check may put one there.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/init
    until
        xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true
        sed -e 's/ / +/g' -e 's/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    do :; done
fi
# An engine leaves zombies to pid 1.
exec docker-init -- "$@"
