# imds-check @VERSION@: finds the one cause why this Azure VM cannot use the Instance Metadata Service, and how to mend it.
#
# For Azure Run Command (RunShellScript): paste it whole, or `az vm run-command invoke --scripts @imds-check.sh`. Also run by
# hand as root: `sh imds-check.sh`. It carries the whole tool, changes nothing on the VM, needs no network, and leaves
# nothing but the report folder under /var/log/azure/imds-check. It needs Python 3.8 or later; without it, it looks at what
# the shell can see. (It has no #! line: to a script with one, action run commands give no parameters.)
#
# Parameters, as variables or as words NAME=VALUE (none is needed):
#   ExpectedMac, ExpectedIp  what Azure says of the primary NIC
#   Arguments                more options of imds-check: "--format full --deadline 30", "--no-files", "--redact"
#   ExitCode                 "verdict": end with the exit code of the verdict. Else with 0, because Run Command loses the
#                            output of a script that fails; the report's last line has the code in any case.
#
# Folders in which only root can write, whatever the caller's PATH says, before anything is run. The last two: Flatcar's
# Python, and NixOS. (The # at the end of a line hides the line ends of Windows.)
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:/usr/share/oem/python/bin:/run/current-system/sw/bin #
export PATH #
# A signal ends the collecting, and never this shell, without which there would be no report: the tool listens to them itself.
trap '' HUP INT QUIT TERM #
# With the line ends of Windows this script starts again without them.
cr=
[ -z "$cr" ] || { tr -d '\r' <"$0" | sh -s -- "$@"; exit; } #

set +eu -f # whatever the shell was told that runs this
umask 077
imds=169.254.169.254 wireserver=168.63.129.16
ends_with=${ExitCode:-${EXIT_CODE:-}} redact= elsewhere=
for word in ${Arguments:-${ARGUMENTS:-}} "$@"; do
  case $word in
  [Ee]xit[Cc]ode=* | EXIT_CODE=*) ends_with=${word#*=} ;;
  *--redact*) redact=yes ;;
  --imds-url* | --wireserver-url*) elsewhere=yes ;; # then only the tool itself asks
  esac
done
# With fewer open files than 16, and no right to more, the shell itself fails: even $(...) needs some.
if ! (ulimit -n 16) 2>/dev/null; then
  echo "IMDS-CHECK @VERSION@"
  echo "VERDICT  INCONCLUSIVE"
  echo "  Nothing could be looked at: the limit of open files (ulimit -n) is too low."
  echo "FIX"
  echo "- Raise it to 64 or more (ulimit -n 64, LimitNOFILE= of the service that runs this), and run again."
  date -u '+END IMDS-CHECK verdict=inconclusive cause=- exit=3 host=- at=%Y-%m-%dT%H:%M:%SZ v=@VERSION@'
  [ "$ends_with" = verdict ] && exit 3
  exit 0
fi
case $(ulimit -n) in ? | ??) (ulimit -n 512) 2>/dev/null && ulimit -n 512 ;; esac
at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
host=-
[ -n "$redact" ] || host=$(uname -n | LC_ALL=C tr -c 'A-Za-z0-9._\n-' _ | cut -c 1-63)

# The last line. $1: verdict, $2: exit code
end() {
  echo "END IMDS-CHECK verdict=$1 cause=- exit=$2 host=${host:--} at=$at v=@VERSION@"
  [ "$ends_with" = verdict ] && exit "$2"
  exit 0
}

# Keeps what is printed within 3,900 bytes with the last line, whatever its line ends, and plain ASCII.
fit() { LC_ALL=C tr -c '\n\040-\176' '?' | cut -c 1-118 | head -n 29; }

# What is to be done about a Python that is there.
mend="Python is there: see above why it failed. Raise the limits on memory and open files (ulimit -a), or reinstall python3."

# What Python is there: sets $python, or $why it cannot be used and what is $to_do about it.
find_python() {
  why="no python3 was found"
  to_do="Install Python 3.8 or later, and run again: apt-get install python3, dnf install python3.11"
  for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 /usr/libexec/platform-python; do
    command -v "$python" >/dev/null || continue
    starts=
    found=$("$python" -I -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3] + " with -OO" * (sys.flags.optimize > 1))' 2>&1 </dev/null) || starts=no
    found=$(echo "$found" | tail -n 1)
    [ -z "$starts" ] || found="a Python that does not start ($found)"
    case $found in *-OO) ;; 3.[89].* | 3.[1-9][0-9].*) return 0 ;; esac
    [ "$why" = "no python3 was found" ] || continue
    why="$python is $found"
    [ -z "$starts" ] || to_do=$mend
    case $found in *-OO) to_do="Run it with a Python that is started without -OO." ;; esac
  done
  return 1
}

newline='
'

# Asks without any proxy, for at most $2 seconds. Sets $body, what was $said in words, and the $outcome: "http" (then $status is
# the status), "none" where curl says that the network gave no answer (its exit statuses 6, 7, 28, 52, 56), or "unknown".
ask() {
  body=$({
    curl -q --noproxy '*' --silent --show-error --connect-timeout 3 --max-time "$2" --max-filesize 1048576 \
      --header "Metadata: true" --write-out '\n%{http_code}' "$1"
    echo " $?"
  } 2>&1 </dev/null | LC_ALL=C tr -cd '\n\040-\176' | tail -c 65536)
  status=${body##*"$newline"}
  ended=${status##* } status=${status%% *}
  case $status/$ended in
  [1-5][0-9][0-9]/*) outcome=http said="HTTP $status" ;;
  */6 | */7 | */28 | */52 | */56) outcome=none said=$(printf %s "$body" | grep curl: | tail -n 1) ;;
  *) outcome=unknown said="not asked: curl did not work ($(printf %s "$body" | grep curl: | tail -n 1))" ;;
  esac
}

# The vmId of $body in $vm_id; empty where it has none. By the shell alone, whatever else does not start.
read_vm_id() {
  vm_id=
  case $body in *'"vmId"'*) ;; *) return ;; esac
  vm_id=${body#*'"vmId"'}
  vm_id=${vm_id#*\"}
  vm_id=${vm_id%%\"*}
  case $vm_id in *[!0-9A-Fa-f-]*) vm_id= ;; esac
  [ ${#vm_id} = 36 ] || vm_id=
}

# The kernel's route table, whose addresses are hexadecimal with the last byte first (mawk has no strtonum).
proc_routes() {
  awk '
    function digit(text, at) { return index("0123456789ABCDEF", substr(text, at, 1)) - 1 }
    function byte(text, at) { return 16 * digit(text, at) + digit(text, at + 1) }
    function address(text) { return byte(text, 7) "." byte(text, 5) "." byte(text, 3) "." byte(text, 1) }
    NR > 1 { print address($2), "mask", address($8), "via", address($3), "dev", $1, "metric", $7 }' /proc/net/route
}

routes() {
  if command -v ip >/dev/null; then
    ip -4 route get $imds 2>&1 </dev/null | sed -e 's/ *cache *//' -e '/^$/d'
    ip -4 route show table all 2>/dev/null | grep -E '169\.254\.|168\.63\.129\.16|default|0\.0\.0\.0/1'
    ip -4 rule show 2>/dev/null | grep -vE 'lookup (local|main|default) *$'
  else
    proc_routes | grep -E '^(169\.254\.|168\.63\.129\.16 |0\.0\.0\.0 )'
  fi
}

adapters() {
  set +f
  for folder in /sys/class/net/*; do
    name=${folder##*/}
    [ "$name" = lo ] && continue
    addresses=
    command -v ip >/dev/null && addresses=$(ip -4 -o addr show dev "$name" 2>/dev/null | awk '{ printf " %s", $4 }')
    echo "$name  $(cat "$folder/address" 2>/dev/null)  $(cat "$folder/operstate" 2>/dev/null) $addresses"
  done
  set -f
}

proxies() {
  { env && cat /etc/environment /etc/waagent.conf; } 2>/dev/null | grep -iE '^ *(export +)?(https?|all|no)_proxy=|^HttpProxy' |
    sed -e 's#//.*@#//#' -e 's/=.*@/=/' -e 's/[?].*//' | sort -u
}

indented() { sed 's/^/  /'; }

# The report without the tool. $1: why, $2: what is to be done about that
short_report() {
  answers=unknown vm_id=
  if [ -n "$elsewhere" ]; then
    outcome=unknown said="not asked: --imds-url"
  elif command -v curl >/dev/null; then
    ask "http://$imds/metadata/instance?api-version=2021-02-01" 5
    read_vm_id
  else
    outcome=unknown said="not asked: there is no curl"
  fi
  case $outcome in
  http)
    answers=no
    [ "$status" = 200 ] && [ -n "$vm_id" ] && answers=yes
    ;;
  none) answers=no ;;
  esac
  case $answers$outcome in
  yes*) said="HTTP 200, the metadata of a VM" && [ -n "$redact" ] || said="HTTP 200, vmId $vm_id" ;;
  nohttp) said="$said, and not this VM's metadata" ;;
  esac
  imds_said=$said
  case $answers in
  unknown) verdict=INCONCLUSIVE what="Whether IMDS answers could not be found out." ;;
  yes) verdict=INCONCLUSIVE what="IMDS answers; what else may be wrong was not looked at." ;;
  no) verdict=BROKEN what="IMDS does not give this VM its metadata; why was not looked at." ;;
  esac
  {
    echo "IMDS-CHECK @VERSION@  $host  $at"
    echo "VERDICT  $verdict"
    echo "  $what"
    echo "  This is the short report, without the tool itself: $1." | fold -s -w 116 | sed '2,$s/^/  /' | head -n 4
    echo "FIX"
    echo "- $2"
    command -v curl >/dev/null || echo "- Install curl, with which this script asks IMDS."
    [ $answers != no ] || echo "- Look below: the route to $imds must leave by the primary NIC; no proxy may take it."
    echo "CHECKS"
    printf '  %-21s %s\n' imds "$imds_said"
    [ $answers = unknown ] || for port in 80 32526; do
      ask "http://$wireserver:$port/?comp=versions" 3
      printf '  %-21s %s\n' "wireserver:$port" "${said:-no answer}"
    done
    if [ -z "$redact" ]; then
      echo "ROUTES"
      routes | head -n 7 | indented
      echo "ADAPTERS"
      adapters | head -n 4 | indented
      found=$(proxies | head -n 4)
      echo "PROXIES"
      echo "${found:-none is set}" | indented
    fi
  } | fit
  case $verdict in BROKEN) end broken 1 ;; esac
  end inconclusive 3
}

# Imports the tool from memory: nothing is unpacked. Ends with 97 where that fails.
start='
import sys
try:
    import base64, bz2, os, runpy, tempfile, zipfile
except ImportError as error:
    print("this Python cannot load its modules: %s" % error, file=sys.stderr)
    sys.exit(97)
except MemoryError:
    print("not enough memory to load its modules", file=sys.stderr)
    sys.exit(97)
try:
    tool = bz2.decompress(base64.b85decode(sys.stdin.buffer.read().replace(b"\n", b""))).decode("ascii")
    parts = [part.split("\n", 1) for part in tool.split("\0")]
    dict(parts)
except MemoryError:
    print("not enough memory to read the tool in this script", file=sys.stderr)
    sys.exit(97)
except Exception as error:
    print("the tool in this script cannot be read, so it was changed on its way: %s" % error, file=sys.stderr)
    sys.exit(97)
try:
    try:
        file = os.fdopen(os.memfd_create("imds-check"), "wb")
    except (AttributeError, OSError):
        file = tempfile.TemporaryFile()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts:
            archive.writestr(name, text)
    file.flush()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    runpy.run_path("/proc/self/fd/%d" % file.fileno(), run_name="__main__")
except Exception as error:
    print("%s: %s" % (type(error).__name__, error), file=sys.stderr)
    sys.exit(97)
'

main() {
  find_python || short_report "$why" "$to_do"
  { said=$(printf %s "$tool" | "$python" -I -S -B -c "$start" "$@" 2>&1 >&3); } 3>&1
  code=$?
  [ -z "$said" ] || echo "$said" >&2
  case $code in
  0) exit 0 ;;
  1 | 3) [ "$ends_with" = verdict ] && exit $code || exit 0 ;;
  2)
    [ -z "$redact" ] || said="standard error names them"
    {
      printf '%s\n' "IMDS-CHECK @VERSION@  $host  $at" "VERDICT  INCONCLUSIVE"
      echo "  Wrong parameters: $said" | fold -s -w 116 | sed '2,$s/^/  /'
    } | fit
    end inconclusive 2
    ;;
  esac
  to_do=$mend
  case $said in *"changed on its way"*) to_do="Copy the script to the VM again, unchanged." ;; esac
  short_report "$(echo "$python ended with $code: $said" | tail -n 1)" "$to_do"
}

tool='
@TOOL@'

main "$@"
# A second copy below, from a script that was pasted twice, is not reached.
exit
