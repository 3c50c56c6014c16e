# Shared by the scripts beside it; sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# need_packages COMMAND-OR-FILE=PACKAGE...: installs the packages whose command or file is missing,
# naming them before it asks for root.
need_packages() {
  local pair probe package missing=()
  for pair in "$@"; do
    probe=${pair%%=*} package=${pair#*=}
    case $probe in
      /*) [ -e "$probe" ] || missing+=("$package") ;;
      *) command -v "$probe" >/dev/null || [ -x "/usr/sbin/$probe" ] || missing+=("$package") ;;
    esac
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "missing: ${missing[*]} (no apt-get here: please install them)"
  say "installing system packages: ${missing[*]}"
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_rust() {
  # A login shell may not have read rustup's environment yet.
  [ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null || die "Rust 1.95 or newer is needed: see https://rustup.rs"
}

need_build_packages() {
  need_rust
  need_packages cc=gcc /usr/include/pcap/pcap.h=libpcap-dev pkg-config=pkg-config make=make
}
