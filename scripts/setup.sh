#!/bin/sh
# Brings what `npm run demo` and `npm test` need: npm packages and Debian packages. Installs what is missing,
# says why, touches nothing else. A second run only looks.
#
#   sh scripts/setup.sh demo|test|lab      what the named job needs
set -eu

job=${1:-test}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

say() { printf 'setup: %s\n' "$*" >&2; }

# command, Debian package, why
needs() {
  cat <<'LIST'
swtpm swtpm a TPM 2.0 in software, one for each demo machine
swtpm_setup swtpm-tools makes those TPMs and their EK certificates
podman podman runs application instances on a device
runc runc the OCI runtime under podman
conmon conmon watches each container for podman
buildah buildah builds images
docker-registry docker-registry the image registry of the demo
curl curl the runtime shim asks the trust agent with it
iptables iptables published ports of an instance
/usr/lib/podman/netavark netavark networks of an instance
/usr/lib/podman/aardvark-dns aardvark-dns names in those networks
/bin/busybox busybox-static the user land of the sample application
LIST
  [ "$job" != lab ] || cat <<'LIST'
qemu-system-x86_64 qemu-system-x86 the machines of the lab
qemu-img qemu-utils a disk of its own for each, above the image that they share
/usr/share/OVMF/OVMF_CODE_4M.fd ovmf their firmware, which measures what it starts
debootstrap debootstrap makes their root file system
cpio cpio packs their initrd
mke2fs e2fsprogs makes the file systems of their disks
veritysetup cryptsetup-bin the hash tree of a root that can't be changed unseen
LIST
  [ "$job" = demo ] || [ "$job" = lab ] || cat <<'LIST'
tpm2_quote tpm2-tools the oracle that our TPM client is compared with
skopeo skopeo copies images in tests
xz xz-utils kernel modules and Debian packages that a reference scan unpacks
LIST
}

has() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# busybox may be there as the dynamically linked package, which can't run in an image of its own.
static_busybox() { [ -e /bin/busybox ] && [ -e /usr/share/doc/busybox-static ]; }

missing=''
list=$(needs)
while read -r command package why; do
  if [ "$package" = busybox-static ]; then
    static_busybox && continue
  elif has "$command"; then
    continue
  fi
  missing="$missing $package"
  say "needs $package: $why"
done <<LIST
$list
LIST

if [ -n "$missing" ]; then
  if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null 2>&1; then
    say "this is not Debian or Ubuntu; please install the equivalents of:$missing"
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "not root; please run: sudo apt-get install --no-install-recommends$missing"
    exit 1
  fi
  say "installing Debian packages:$missing"
  log=$(mktemp)
  # docker-registry brings a service on port 5000 that nobody here asked for: keep it from staying.
  new_registry=''
  case $missing in *docker-registry*) new_registry=1 ;; esac
  # Package lists may be stale or absent; a second try after an update is for those.
  # shellcheck disable=SC2086
  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1; }
  if ! install; then
    say "refreshing Debian's package lists"
    if ! apt-get update >"$log" 2>&1 || ! install; then
      tail -n 20 "$log" >&2
      say "apt-get could not install:$missing (its last lines stand above)"
      rm -f "$log"
      exit 1
    fi
  fi
  rm -f "$log"
  if [ -n "$new_registry" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now docker-registry >/dev/null 2>&1 || true
    say 'stopped the docker-registry service that its package starts: the demo runs its own'
  fi
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say 'installing npm packages into node_modules (no install scripts are run), Node 24 among them'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  touch node_modules/.package-lock.json
fi

version=$(PATH="$root/node_modules/.bin:$PATH" node -p 'process.versions.node')
case $version in
  2[4-9].* | [3-9][0-9].*) ;;
  *)
    say "Node $version is too old and npm brought no newer one for this processor; please install Node 24 or newer"
    exit 1
    ;;
esac

# What `npx kallio` starts: made now, so that the first command doesn't wait for it.
PATH="$root/node_modules/.bin:$PATH" node packages/cli/bin/kallio.cjs --version >/dev/null
