# The small network of scripts/lab and scripts/sipp-load, and a node in it; to be sourced.
#
#     [callers]---veth---public [node: sluice] core---veth---[callees]
#
# Whoever sources it sets: lab (the first part of the namespaces' names), mode, queues, workers, cpus, pin (a command before the node's), steer, ipv6,
# vlan, clean and files (a folder), and has a function write_rules, which prints the end of the node's configuration.
# shellcheck shell=bash disable=SC2154 # those variables

# shellcheck source=common.bash
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

build() {
    binary=${SLUICE_BIN:-}
    if [ -z "$binary" ]; then
        step "build"
        cargo build --release --package sluice --locked
        binary=${CARGO_TARGET_DIR:-target}/release/sluice
    fi
    [ -x "$binary" ] || fail "$binary is no program"
    binary=$(realpath "$binary")
}

# in_ SIDE COMMAND...: runs a command in one of the namespaces.
in_() {
    local side=$1
    shift
    ip netns exec "$lab-$side" "$@"
}

# address SIDE: that of an end, or of the node's interface on its network.
address() {
    case $1$ipv6 in
        callers) echo 192.0.2.10 ;;
        public) echo 192.0.2.1 ;;
        core) echo 198.51.100.1 ;;
        callees) echo 198.51.100.10 ;;
        callers1) echo 2001:db8:1::10 ;;
        public1) echo 2001:db8:1::1 ;;
        core1) echo 2001:db8:2::1 ;;
        callees1) echo 2001:db8:2::10 ;;
    esac
}

# host_port SIDE PORT: address and port as SIP and SIPp write them.
host_port() {
    local address
    address=$(address "$1")
    case $address in
        *:*) echo "[$address]:$2" ;;
        *) echo "$address:$2" ;;
    esac
}

build_network() {
    local side
    for side in callers node callees; do
        ip netns add "$lab-$side"
        ip -n "$lab-$side" link set lo up
    done
    connect callers public
    connect callees core
    in_ node ip -brief address show | grep -v '^lo'
}

# connect SIDE INTERFACE: a veth between a side's interface `sip` and the node's, each with its address.
connect() {
    local of_queues="numrxqueues $queues numtxqueues $queues"
    # shellcheck disable=SC2086 # the words of $of_queues are arguments
    ip -n "$lab-$1" link add sip $of_queues type veth peer name "$2" $of_queues netns "$lab-node"
    give_address "$1" sip "$(address "$1")"
    give_address node "$2" "$(address "$2")"
}

# give_address SIDE INTERFACE ADDRESS: on the interface, or on a VLAN of it.
give_address() {
    local device=$2 length=24
    [ -z "$ipv6" ] || length="64 nodad"
    ip -n "$lab-$1" link set "$2" addrgenmode none up
    if [ -n "$vlan" ]; then
        device=$2.$vlan
        ip -n "$lab-$1" link add link "$2" name "$device" type vlan id "$vlan" ||
            fail "this kernel has no VLAN devices (CONFIG_VLAN_8021Q)"
        # The tag must stand in the frame. Left to veth it stands beside it.
        in_ "$1" ethtool -K "$2" txvlan off rxvlan off
        ip -n "$lab-$1" link set "$device" addrgenmode none up
    fi
    # shellcheck disable=SC2086 # "64 nodad" are two arguments
    ip -n "$lab-$1" address add "$3"/$length dev "$device"
}

# Starts sluice, and leaves its process in $node.
start_node() {
    (umask 077 && "$binary" keygen >"$files/key")
    { write_config && write_rules; } >"$files/sluice.toml"
    : >"$files/node.log"
    (exec ip netns exec "$lab-node" "${pin[@]}" "$binary" run --config "$files/sluice.toml" >"$files/node.counters" 2>"$files/node.log") &
    node=$!
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        if grep -qw ready "$files/node.log"; then
            sed 's/^[^ ]* *//' "$files/node.log"
            return
        fi
        kill -0 "$node" 2>/dev/null || break
        sleep 0.1
    done
    cat "$files/node.log" >&2
    fail "sluice does not start"
}

write_config() {
    cat <<TOML
[node]
name = "lab"
workers = $workers
$([ -z "$cpus" ] || echo "cpus = \"$cpus\"")
key_file = "$files/key"

[admin]
socket = "$files/admin.sock"

[io]
mode = "$mode"
TOML
    [ "$mode" = udp ] || printf 'steer = "%s"\n\n[[interface]]\nname = "public"\n\n[[interface]]\nname = "core"\n' "$steer"
    cat <<TOML

[[listen]]
name = "public"
address = "$(host_port public 5060)"

[[listen]]
name = "core"
address = "$(host_port core 5060)"

[routing]
domains = ["example.net"]
TOML
}

# listens SIDE PORT: whether somebody there listens on the port within a few seconds.
listens() {
    local tries port
    printf -v port ':%04X ' "$2"
    for ((tries = 0; tries < 50; tries++)); do
        ! in_ "$1" cat /proc/net/udp /proc/net/udp6 | grep -q "$port" || return 0
        sleep 0.1
    done
    return 1
}

# Ends what runs in the lab's namespaces, and takes them away.
remove() {
    local side pids tries
    for side in callers callees node; do
        [ -e "/run/netns/$lab-$side" ] || continue
        for ((tries = 0; tries < 50; tries++)); do
            pids=$(ip netns pids "$lab-$side")
            [ -n "$pids" ] || break
            # In order at first, and by force after three seconds.
            # shellcheck disable=SC2086 # one argument a process
            kill -s "$([ "$tries" -lt 30 ] && echo TERM || echo KILL)" $pids 2>/dev/null || true
            sleep 0.1
        done
        ip netns delete "$lab-$side"
    done
    [ -z "$clean" ] || rm -rf "/tmp/$lab".??????
}
