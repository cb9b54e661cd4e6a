#!/bin/sh
# Makes the images of conf/compose/docker-compose.yml without a network, on a machine of the tests: what their Dockerfiles begin from is
# a Debian that mmdebstrap has made, in which there is already what they would fetch.
#
#   build.sh BASE KADABRA PACKAGES    a tar file, the agent, and a folder of Python's packages
set -eu
base=$1 kadabra=$2 packages=$3
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

# Of its own network namespace.
mount -o remount,bind,rw /proc/sys
# Which of Debian's alternatives they are is in /etc.
for program in iptables ip6tables; do
    ln -s "/usr/sbin/$program-nft" "/usr/local/bin/$program"
done
mkdir -p /etc/containers /var/lib/containers
cat >/etc/containers/policy.json <<END
{"default": [{"type": "insecureAcceptAnything"}]}
END
cat >/etc/containers/containers.conf <<END
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=20000:20000", "nproc=2048:2048"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
END

build() {
    podman build --quiet --pull=never --isolation=chroot --format=docker --tag "$@"
}

podman import --quiet "$base" localhost/base
context=$(mktemp -d)
cp -r "$here"/. "$packages" "$kadabra" "$context"
build docker.io/library/rust:1-bookworm --file "$context/Dockerfile.rust" "$context"
build docker.io/library/python:3.13-slim-bookworm --file "$context/Dockerfile.python" "$context"
build docker.io/library/nginx:1.28 --file "$context/Dockerfile.nginx" "$context"
build docker.io/library/influxdb:1.8 --file "$context/Dockerfile.influxdb" "$context"
rm -r "$context"
build localhost/kadabra --file "$project/conf/compose/Dockerfile" "$project"
build localhost/shop --file "$project/conf/compose/shop.Dockerfile" "$project"
