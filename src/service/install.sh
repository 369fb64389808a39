#!/bin/sh
# Makes this machine an instance of your account at @PUBLIC-URL@:
#
#     curl -fsS @PUBLIC-URL@/install | SSHKEYD_TOKEN=skd_enr_... sh
#
# It installs /usr/local/bin/sshkeyd, writes the token and, where there is none, a configuration to
# /etc/sshkeyd, and starts the agent, under systemd or without. Run again it brings the program to
# the service's version, keeps the configuration, and starts the agent anew. Without SSHKEYD_TOKEN it
# does so for a machine that has enrolled before.
set -eu
umask 077

url=@URL@
version=@VERSION@
program=/usr/local/bin/sshkeyd
config=/etc/sshkeyd/agent.toml
token_file=/etc/sshkeyd/enroll-token
log=/var/log/sshkeyd-agent.log
pid_file=/run/sshkeyd/agent.pid
scratch=

say() { printf 'sshkeyd: %s\n' "$*"; }

fail() {
    printf 'sshkeyd: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Nothing half done stays, however this ends.
tidy() {
    [ -z "$scratch" ] || rm -rf "$scratch" "$token_file.new" "$config.new"
}

digest_for() {
    case $1 in
#@DIGESTS@
    *) ;;
    esac
}

digest_of() {
    if has sha256sum; then
        sha256sum <"$1" | cut -d' ' -f1
    else
        openssl dgst -sha256 -r <"$1" | cut -d' ' -f1
    fi
}

get() {
    if has curl; then
        curl -fsS --connect-timeout 30 -o "$2" "$1"
    else
        wget -q -T 30 -O "$2" "$1"
    fi
}

# The program as the service has it, into $1. Many machines may come at once: those that are sent
# away come again.
download() {
    for pause in 2 5 10 20 40 0; do
        if get "$url/install/sshkeyd-$arch" "$1"; then
            [ "$(digest_of "$1")" = "$digest" ] && return
            fail "$url/install/sshkeyd-$arch is not the program that this script is for (SHA-256); run the line again"
        fi
        [ "$pause" = 0 ] || sleep "$pause"
    done
    fail "$url/install/sshkeyd-$arch cannot be had; run the line again later"
}

# Puts what it reads into the file $1, with the mode $2, all of it or nothing.
put() {
    cat >"$1.new"
    chmod "$2" "$1.new"
    mv -f "$1.new" "$1"
}

directory() {
    [ -d "$1" ] || { mkdir -p "$1" && chmod "$2" "$1"; }
}

write_config() {
    put "$config" 0644 <<END
# Written by $url/install; yours from here on. All that can stand here: the
# example config/agent.toml of sshkeyd. \`sshkeyd check\` names every fault of it.

[[source]]
name = "account"
account.urls = ["$url"]
account.enroll-token-file = "$token_file"

[[target]]
user = "root"
sources = ["account"]
method = "block"
path = "%h/.ssh/authorized_keys"
adopt = "same-key"

[verify]
sshd = "127.0.0.1:22"
END
}

# Whether the configuration that is there asks this service.
names_us() {
    grep -qF -e "\"$url\"" -e "\"$url/\"" -e "'$url'" "$config"
}

write_units() {
    put /etc/systemd/system/sshkeyd-agent.service 0644 <<'END_OF_UNIT'
@UNIT@
END_OF_UNIT
    directory /etc/sysusers.d 0755
    put /etc/sysusers.d/sshkeyd.conf 0644 <<'END_OF_UNIT'
@SYSUSERS@
END_OF_UNIT
    directory /etc/tmpfiles.d 0755
    put /etc/tmpfiles.d/sshkeyd.conf 0644 <<'END_OF_UNIT'
@TMPFILES@
END_OF_UNIT
}

start_under_systemd() {
    write_units
    systemd-sysusers /etc/sysusers.d/sshkeyd.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/sshkeyd.conf
    systemctl daemon-reload
    systemctl enable --quiet sshkeyd-agent.service
    systemctl restart sshkeyd-agent.service || fail "the agent does not start: journalctl -u sshkeyd-agent"
    logs="journalctl -u sshkeyd-agent"
}

# The loop that keeps the agent, by its own word and by what the system says of that process.
running_loop() {
    [ -r "$pid_file" ] || return 1
    loop=$(cat "$pid_file")
    case $loop in '' | *[!0-9]*) return 1 ;; esac
    tr '\0' ' ' <"/proc/$loop/cmdline" 2>/dev/null | grep -q 'sshkeyd-agent-loop'
}

stop_loop() {
    kill -TERM "$loop"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        running_loop || return 0
        sleep 1
    done
    kill -KILL "$loop" 2>/dev/null || :
}

start_without_systemd() {
    directory /var/lib/sshkeyd 0711
    directory /var/lib/sshkeyd/keys 0755
    directory /run/sshkeyd 0755
    mkdir -p /var/log
    logs=$log
    if running_loop; then
        stop_loop
    elif "$program" status --config "$config" >/dev/null 2>&1; then
        say "an agent runs here that this script has not started; start it anew to have $version"
        return
    fi
    if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 1048576 ]; then
        mv -f "$log" "$log.1"
    fi
    # As a unit would: started again when it dies, but not after a clean end (0), nor where another
    # start would end the same way (64, 78).
    # shellcheck disable=SC2016 # the loop's own variables
    set -- sh -c '
        trap "kill -TERM \$agent 2>/dev/null; wait \$agent; exit 0" TERM INT
        while :; do
            "$1" agent --config "$2" &
            agent=$!
            code=0
            wait $agent || code=$?
            case $code in 0 | 64 | 78) exit $code ;; esac
            sleep 5
        done' sshkeyd-agent-loop "$program" "$config"
    if has setsid; then
        setsid "$@" </dev/null >>"$log" 2>&1 &
    else
        nohup "$@" </dev/null >>"$log" 2>&1 &
    fi
    echo "$!" | put "$pid_file" 0644
}

# Whether the account has given its list.
has_keys() {
    said=$("$program" status --json --config "$config" 2>/dev/null | tr -d ' \n')
    case $said in
    *'"kind":"account","state":"live"'*) ;;
    *) return 1 ;;
    esac
}

main() {
    token=${SSHKEYD_TOKEN-}
    # The agent and its children have no use for it.
    unset SSHKEYD_TOKEN
    [ "$(id -u)" = 0 ] || fail "run it as root: curl -fsS $url/install | sudo SSHKEYD_TOKEN=... sh"
    [ "$(uname -s)" = Linux ] || fail "sshkeyd runs on Linux; this is $(uname -s)"
    has curl || has wget || fail "curl or wget is needed"
    has sha256sum || has openssl || fail "sha256sum or openssl is needed"
    arch=$(uname -m)
    digest=$(digest_for "$arch")
    [ -n "$digest" ] || fail "$url has no program for $arch; whoever keeps it puts sshkeyd-$arch into its install-dir"
    case $token in
    '')
        [ -e "$config" ] || [ -e "$token_file" ] \
            || fail "SSHKEYD_TOKEN is not set; sshkeyd instances create --label NAME shows the whole line"
        ;;
    *[!A-Za-z0-9_.:+/=-]*) fail "SSHKEYD_TOKEN is no token: copy the whole line anew" ;;
    skd_enr_*) ;;
    *) fail "SSHKEYD_TOKEN is no enrolment token (skd_enr_...)" ;;
    esac
    # The agent would send the token to whatever its configuration names.
    [ -z "$token" ] || [ ! -e "$config" ] || names_us \
        || fail "$config names another service, which would be sent this token; nothing was changed. Name \"$url\" in its account.urls, or move the file away, and run the line again"

    trap tidy EXIT
    trap 'exit 1' HUP INT TERM
    directory /usr/local/bin 0755
    scratch=$(mktemp -d /usr/local/bin/.sshkeyd.XXXXXX)
    if [ -x "$program" ] && [ "$(digest_of "$program")" = "$digest" ]; then
        say "$program is sshkeyd $version already"
        ready=$program
    else
        ready=$scratch/sshkeyd
        download "$ready"
        chmod 0755 "$ready"
        "$ready" --version >/dev/null || fail "the program does not run here; nothing was changed"
    fi

    directory /etc/sshkeyd 0755
    if [ -n "$token" ]; then
        printf '%s\n' "$token" | put "$token_file" 0600
    fi
    if [ -e "$config" ]; then
        say "$config is kept"
        names_us || say "it does not name $url: this agent asks others"
    else
        write_config
        say "$config is written"
    fi
    "$ready" check --config "$config" || fail "$config is at fault; put it right and run the line again"
    if [ "$ready" != "$program" ]; then
        mv -f "$ready" "$program"
        say "$program is sshkeyd $version now"
    fi

    if [ -d /run/systemd/system ] && has systemctl; then
        start_under_systemd
    else
        start_without_systemd
    fi
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        well=yes
        "$program" sync --config "$config" >/dev/null 2>&1 || well=
        if has_keys; then
            say "the agent runs and has the account's keys; its log: $logs"
            [ -n "$well" ] || "$program" status --config "$config"
            return
        fi
        sleep 2
    done
    "$program" status --config "$config" >&2 || :
    fail "the agent is installed and does not have the account's keys yet; its log: $logs"
}

# All of it has arrived.
main
