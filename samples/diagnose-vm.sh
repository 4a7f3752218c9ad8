#!/usr/bin/env bash
# Diagnoses one Azure VM from outside: sends imds-check into it with Azure Run Command, and prints the report.
#
#   diagnose-vm.sh -g GROUP -n VM [OPTION]... [-- OPTIONS OF IMDS-CHECK]
#
#   -g, --resource-group GROUP   of the VM
#   -n, --name VM
#   --subscription S             name or id (default: az's current subscription)
#   --exe-uri URI                Windows VMs: run imds-check.exe, which the VM downloads from here, such as a blob with a SAS
#   --script FILE                the script to send (default: dist/imds-check.sh or .ps1, which `python build.py` makes)
#   --answer FILE                where to save Azure's answer for the ticket (default: a new file in the current folder)
#
# Needs the Azure CLI, logged in, the right to run commands on the VM (the role Virtual Machine Contributor has it), and Python
# 3.8 or later on this machine. It changes nothing. Exit code: the report's (0 healthy, 1 broken or degraded, 3 inconclusive or no
# report); 2 if the VM could not be asked, with the reason.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

fail() {
  printf 'diagnose-vm: %s\n' "$@" >&2
  exit 2
}

say() { printf '%s\n' "$*" >&2; }

# A word in single quotes, as a shell and as PowerShell read it.
quote="'" for_shell="'\\''" for_powershell="''"
shell_quoted() { printf "'%s'" "${1//$quote/$for_shell}"; }
powershell_quoted() { printf "'%s'" "${1//$quote/$for_powershell}"; }

# --- what is asked for ---

group="" name="" exe_uri="" script="" answer="" subscription=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
  --) shift; break ;;
  -g | --resource-group | -n | --name | --subscription | --exe-uri | --script | --answer)
    [ $# -gt 1 ] && [ -n "$2" ] || fail "$1 needs a value"
    case $1 in
    -g | --resource-group) group=$2 ;;
    -n | --name) name=$2 ;;
    --subscription) subscription=(--subscription "$2") ;;
    --exe-uri) exe_uri=$2 ;;
    --script) script=$2 ;;
    --answer) answer=$2 ;;
    esac
    shift 2
    ;;
  *) fail "unknown option: $1 (options of imds-check come after --)" ;;
  esac
done
[ -n "$group" ] && [ -n "$name" ] || fail "which VM? -g GROUP -n VM (--help tells more)"
command -v az >/dev/null || fail "az, the Azure CLI, is not installed: https://learn.microsoft.com/cli/azure/install-azure-cli"
if [ -d "$root/runcommand" ] && command -v python3 >/dev/null; then
  decode() { (cd "$root" && python3 -m runcommand decode -); }
elif command -v imds-check >/dev/null; then
  decode() { imds-check decode -; }
else
  fail "python3 is not installed; it reads the answer that comes back"
fi
work=$(mktemp -d) || fail "no folder for temporary files"
trap 'rm -rf "$work"' EXIT

# --- what Azure says ---

# az with its errors kept; ${array[@]+...} because the bash of macOS takes an empty array for an unset one
ask() { az "$@" ${subscription[@]+"${subscription[@]}"} </dev/null 2>"$work/error"; }

# Ends with what an error of az means.
explain() {
  if grep -qE 'az login|AADSTS' "$work/error"; then
    say "diagnose-vm: az is not logged in: run 'az login', then this again."
  elif grep -q '^ERROR: (' "$work/error"; then # Azure's own, which decode knows
    decode <"$work/error"
  else
    say "diagnose-vm: az failed:"
    cat "$work/error" >&2
  fi
  exit 2
}

line() { sed -n "$1p" "$work/answer" | tr -d '\r' | sed 's/^None$//'; }

say "Asking Azure about $name ..."
ask vm show -g "$group" -n "$name" -o tsv --query "[storageProfile.osDisk.osType,
  networkProfile.networkInterfaces[?primary].id | [0], networkProfile.networkInterfaces[0].id,
  length(networkProfile.networkInterfaces)]" >"$work/answer" || explain
os=$(line 1) nic=$(line 2)
[ "$(line 4)" != 1 ] || nic=$(line 3) # an only NIC is the primary one, flag or not
mac="" ip=""
if [ -n "$nic" ]; then
  # not `az vm nic show`, which looks for the NIC in the VM's resource group alone
  if ask network nic show --ids "$nic" -o tsv --query "[macAddress, ipConfigurations[?primary].privateIPAddress | [0],
    ipConfigurations[0].privateIPAddress]" >"$work/answer"; then
    mac=$(line 1) ip=$(line 2)
    ip=${ip:-$(line 3)}
  fi
fi
case $os in
Linux) command_id=RunShellScript script=${script:-$root/dist/imds-check.sh} ;;
Windows) command_id=RunPowerShellScript script=${script:-$root/dist/imds-check.ps1} ;;
*) fail "Azure does not say whether $name runs Linux or Windows: ${os:-nothing}" ;;
esac
[ -r "$script" ] || fail "no $script: run 'python3 build.py' in $root first (for a Linux VM 'python3 build.py scripts' is enough)"
if [ -n "$mac$ip" ]; then
  say "  $os; the primary NIC has the MAC ${mac:-(unknown)} and the address ${ip:-(unknown)}"
else
  say "  $os; Azure does not tell the primary NIC's MAC and address: going on without them"
fi

# --- the script, with its parameters inside ---
# Not --parameters: on the way to the VM a value ends at its first blank, & stops the run, and a script that begins with #!
# gets none (azure-cli #9596, azure-powershell #7269, #29880).

arguments=""
for word in "$@"; do
  case $os:$word in
  Linux: | Linux:*[!A-Za-z0-9_./:=,-]*) word=$(shell_quoted "$word") ;;
  Windows:*\"*) word="'$word'" ;; # imds-check.ps1 knows both kinds of quotes, and nothing else
  Windows: | Windows:*[!A-Za-z0-9_./:=,\\-]*) word="\"$word\"" ;;
  esac
  arguments="$arguments${arguments:+ }$word"
done
if [ "$os" = Windows ]; then
  {
    echo '& {'
    cat "$script"
    printf '\n} -ExpectedMac %s -ExpectedIp %s' "$(powershell_quoted "$mac")" "$(powershell_quoted "$ip")"
    [ -z "$exe_uri" ] || printf ' -ExeUri %s' "$(powershell_quoted "$exe_uri")"
    [ -z "$arguments" ] || printf ' -Arguments %s' "$(powershell_quoted "$arguments")"
    echo
  } >"$work/script"
else
  {
    printf 'export ExpectedMac=%s ExpectedIp=%s' "$(shell_quoted "$mac")" "$(shell_quoted "$ip")"
    [ -z "$arguments" ] || printf ' Arguments=%s' "$(shell_quoted "$arguments")"
    echo
    cat "$script"
  } >"$work/script"
fi

# --- there and back ---

say "Running ${script##*/} on $name. It takes half a minute or more; when nothing has come after some minutes, README.md, 'When Run"
say "Command gives nothing back', tells the other ways ..."
ask vm run-command invoke -g "$group" -n "$name" --command-id $command_id --scripts "@$work/script" -o json \
  >"$work/answer" || explain
answer=${answer:-imds-check-${name//[!A-Za-z0-9._-]/_}-$(date -u +%Y%m%dT%H%M%SZ).json}
cp "$work/answer" "$answer" && say "Azure's answer is kept in $answer, for the ticket." && say ""
decode <"$work/answer"
