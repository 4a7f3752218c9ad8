<#
.SYNOPSIS
Diagnoses one Azure VM from outside: sends imds-check into it with Azure Run Command, and prints the report.

.DESCRIPTION
For Windows PowerShell 5.1 and PowerShell 7. Needs the Azure CLI, logged in (but no Az module), and the right to run commands
on the VM (the role Virtual Machine Contributor has it). To read the answer it needs Python 3.8 or later, imds-check on PATH or, in an
elevated prompt, dist\imds-check.exe.
It changes nothing. Exit code: the report's (0 healthy, 1 broken or degraded, 3 inconclusive or no report); 2 if the VM could
not be asked, with the reason.

.PARAMETER Subscription
Name or id (default: az's current subscription).

.PARAMETER ExeUri
Windows VMs: run imds-check.exe, which the VM downloads from here, such as a blob with a SAS. Without it the script collects.

.PARAMETER Arguments
Options of imds-check, in one string: '--endpoints --deadline 30'.

.PARAMETER Script
The script to send (default: dist\imds-check.sh or dist\imds-check.ps1, which `python build.py` makes).

.PARAMETER Answer
Where to save Azure's answer for the ticket (default: a new file in the current folder).

.EXAMPLE
.\diagnose-vm.ps1 -ResourceGroup GROUP -Name VM
#>
param(
    [string]$ResourceGroup, [string]$Name, [string]$Subscription, [string]$ExeUri, [string]$Arguments,
    [string]$Script, [string]$Answer
)

# The language and .NET alone, so that it runs where modules do not load.
$ErrorActionPreference = 'Continue' # else what az writes to standard error ends the script in Windows PowerShell
$root = [IO.Path]::GetDirectoryName($PSScriptRoot)
$isWindows_ = [IO.Path]::DirectorySeparatorChar -eq '\'

function Say([string]$text) { [Console]::Error.WriteLine($text) }

# Runs az; gives its exit code, its lines and its error lines.
function Ask([string[]]$words) {
    if ($Subscription) { $words += '--subscription', $Subscription }
    $all = @(& az @words 2>&1)
    $code = $LASTEXITCODE
    $lines = @($all | Where-Object { $_ -isnot [Management.Automation.ErrorRecord] } | ForEach-Object { "$_" -replace '^None$', '' })
    $errors = @($all | Where-Object { $_ -is [Management.Automation.ErrorRecord] } | ForEach-Object { "$_" })
    return @{ Code = $code; Lines = $lines; Errors = $errors }
}

function Quoted([string]$text) { "'" + $text.Replace("'", "''") + "'" }
function ShellQuoted([string]$text) { "'" + $text.Replace("'", "'\''") + "'" }

# The program that reads the answer, with its first words.
function Decoder {
    $exe = [IO.Path]::Combine($root, 'dist', 'imds-check.exe')
    if ($isWindows_ -and [IO.File]::Exists($exe)) {
        $null = & $exe --version 2>&1 # it unpacks itself where only an elevated prompt may write
        if ($LASTEXITCODE -eq 0) { return @($exe) }
    }
    if ([IO.Directory]::Exists([IO.Path]::Combine($root, 'runcommand'))) {
        foreach ($python in 'python3', 'python') {
            if (Get-Command $python -CommandType Application -ErrorAction SilentlyContinue) {
                $null = & $python -c 0 2>&1 # Windows has a python3 that only opens the Store
                if ($LASTEXITCODE -eq 0) { return @($python, '-m', 'runcommand') }
            }
        }
    }
    if (Get-Command imds-check -CommandType Application -ErrorAction SilentlyContinue) { return @('imds-check') }
    return @()
}

# Prints the report in a file; leaves its exit code in $LASTEXITCODE.
function Decode([string]$file) {
    $program, $words = $decoder
    $before = $env:PYTHONPATH
    $env:PYTHONPATH = $root
    & $program @words decode $file
    $env:PYTHONPATH = $before
}

# What an error of az means.
function Explain([string[]]$errors) {
    if ($errors -match 'az login|AADSTS') { Say "diagnose-vm: az is not logged in: run 'az login', then this again." }
    elseif ($errors -match '^ERROR: \(') {
        # Azure's own, which decode knows
        $file = [IO.Path]::GetTempFileName()
        [IO.File]::WriteAllLines($file, $errors)
        Decode $file
        [IO.File]::Delete($file)
    }
    else { Say "diagnose-vm: az failed:"; foreach ($line in $errors) { Say $line } }
}

# --- what is asked for ---

if (-not $ResourceGroup -or -not $Name) { Say 'diagnose-vm: which VM? -ResourceGroup GROUP -Name VM'; exit 2 }
foreach ($value in $ResourceGroup, $Name, $Subscription) {
    if ($isWindows_ -and $value -match '[&|<>^%"]') { Say "diagnose-vm: az.cmd cannot be given $value; take an id instead"; exit 2 }
}
if (-not (Get-Command az -CommandType Application -ErrorAction SilentlyContinue)) {
    Say 'diagnose-vm: az, the Azure CLI, is not installed: https://learn.microsoft.com/cli/azure/install-azure-cli'
    exit 2
}
$decoder = @(Decoder)
if (-not $decoder) {
    Say ('diagnose-vm: nothing here can read the answer: install Python 3.8 or later, or, with dist\imds-check.exe, ' +
        'run this in an elevated prompt')
    exit 2
}

# --- what Azure says ---

Say "Asking Azure about $Name ..."
$query = '[storageProfile.osDisk.osType, networkProfile.networkInterfaces[?primary].id | [0], networkProfile.networkInterfaces[0].id, ' +
    'length(networkProfile.networkInterfaces)]'
$vm = Ask @('vm', 'show', '-g', $ResourceGroup, '-n', $Name, '-o', 'tsv', '--query', $query)
if ($vm.Code -ne 0) { Explain $vm.Errors; exit 2 }
$os, $nic, $first, $count = $vm.Lines
if ($count -eq '1') { $nic = $first } # an only NIC is the primary one, flag or not
$mac = $ip = ''
if ($nic) {
    # not `az vm nic show`, which looks for the NIC in the VM's resource group alone
    $query = '[macAddress, ipConfigurations[?primary].privateIPAddress | [0], ipConfigurations[0].privateIPAddress]'
    $told = Ask @('network', 'nic', 'show', '--ids', $nic, '-o', 'tsv', '--query', $query)
    if ($told.Code -eq 0) {
        $mac, $ip, $first = $told.Lines
        if (-not $ip) { $ip = $first }
    }
}
switch ($os) {
    'Linux' { $commandId = 'RunShellScript'; $file = 'imds-check.sh' }
    'Windows' { $commandId = 'RunPowerShellScript'; $file = 'imds-check.ps1' }
    default { Say "diagnose-vm: Azure does not say whether $Name runs Linux or Windows"; exit 2 }
}
if (-not $Script) { $Script = [IO.Path]::Combine($root, 'dist', $file) }
$Script = [IO.Path]::Combine($PWD.ProviderPath, $Script)
if (-not [IO.File]::Exists($Script)) {
    Say "diagnose-vm: no ${Script}: run 'python3 build.py' in $root first (for a Linux VM 'python3 build.py scripts' is enough)"
    exit 2
}
if ($mac -or $ip) { Say "  $os; the primary NIC has the MAC $mac and the address $ip" }
else { Say "  $os; Azure does not tell the primary NIC's MAC and address: going on without them" }

# --- the script, with its parameters inside ---
# Not --parameters: on the way to the VM a value ends at its first blank, & stops the run, and a script that begins with #! gets
# none (azure-cli #9596, azure-powershell #7269, #29880).

$text = [IO.File]::ReadAllText($Script)
if ($os -eq 'Windows') {
    $given = " -ExpectedMac $(Quoted $mac) -ExpectedIp $(Quoted $ip)"
    if ($ExeUri) { $given += " -ExeUri $(Quoted $ExeUri)" }
    if ($Arguments) { $given += " -Arguments $(Quoted $Arguments)" }
    $text = "& {`n$text`n}$given`n"
}
else {
    $given = "export ExpectedMac=$(ShellQuoted $mac) ExpectedIp=$(ShellQuoted $ip)"
    if ($Arguments) { $given += " Arguments=$(ShellQuoted $Arguments)" }
    $text = "$given`n$text"
}

# --- there and back ---

Say "Running $([IO.Path]::GetFileName($Script)) on $Name. It takes half a minute or more; when nothing has come after some minutes,"
Say "README.md, 'When Run Command gives nothing back', tells the other ways ..."
$sent = [IO.Path]::GetTempFileName()
try {
    [IO.File]::WriteAllText($sent, $text)
    $to = '-g', $ResourceGroup, '-n', $Name, '--command-id', $commandId
    $came = Ask (@('vm', 'run-command', 'invoke', '-o', 'json', '--scripts', "@$sent") + $to)
}
finally { [IO.File]::Delete($sent) }
if ($came.Code -ne 0) { Explain $came.Errors; exit 2 }
if (-not $Answer) {
    $Answer = "imds-check-$($Name -replace '[^A-Za-z0-9._-]', '_')-$([DateTime]::UtcNow.ToString("yyyyMMdd'T'HHmmss'Z'")).json"
}
$Answer = [IO.Path]::Combine($PWD.ProviderPath, $Answer)
try { [IO.File]::WriteAllText($Answer, ($came.Lines -join "`n") + "`n") }
catch { Say "diagnose-vm: ${Answer}: $($_.Exception.InnerException.Message)"; exit 2 }
Say "Azure's answer is kept in $Answer, for the ticket."
Say ''
Decode $Answer
exit $LASTEXITCODE
