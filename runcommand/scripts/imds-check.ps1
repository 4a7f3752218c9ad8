# imds-check @VERSION@: finds the one cause why this Azure VM cannot use the Instance Metadata Service.
#
# For Azure Run Command (RunPowerShellScript): paste it whole, or az vm run-command invoke --scripts @imds-check.ps1
#
# It collects what imds-check.exe looks at, and prints it as a block (RAW) below what it saw: "imds-check decode" makes the cause
# of it, and the commands that mend it, anywhere. It changes and downloads nothing. It reads adapters, routes, ARP, connections
# to IMDS, proxies (no passwords), firewall rules, certificate chains, services, edition and SMBIOS. It connects to
# 169.254.169.254:80, 168.63.129.16:80 and :32526 and the proxies that are set; IMDS gets at most 12 requests, never for a token.
#
# With ExePath or ExeUri, or where an earlier run has kept it (%ProgramFiles%\imds-check, where only SYSTEM and administrators
# write), it runs imds-check.exe instead, and only that of the SHA-256 below. It needs PowerShell 5.1 or later, and no module.
#
# Parameters, all of them text, none of them needed:
#   ExpectedMac, ExpectedIp  what Azure says of the primary NIC
#   ExePath                  where the exe lies on this VM, with "/" (Run Command may take "\n" for a line break)
#   ExeUri                   where to download it: https://... or that in base64 (Run Command breaks a value at "&"), or
#                            "release": the address that the build has put in
#   Arguments                more options of the exe: "--format=full --no-files", "--redact"; what holds blanks stands in '...'
#   ExitCode                 "verdict": end with the exit code of the verdict. Else with 0, because Run Command loses the
#                            output of a script that fails; the last line has the code in any case.

# Without attributes and default values, so that a script pasted twice can be read.
param([string]$ExpectedMac, [string]$ExpectedIp, [string]$ExeUri, [string]$ExePath, [string]$Arguments, [string]$ExitCode)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$Version = '@VERSION@'
$ExeSha256 = '@SHA256@'
$ExeSize = [long]'@SIZE@' # bytes
$DefaultUri = '@EXE_URI@'
$Services, $WindowsNT = 'SYSTEM\CurrentControlSet\Services', 'SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$Imds, $WireServer, $Ip = '169.254.169.254', '168.63.129.16', '(\d+\.\d+\.\d+\.\d+)'
$ApiVersion = '2021-02-01'
$InstancePath = "/metadata/instance?api-version=$ApiVersion"
$JsonObjects = '', 'compute', 'network', 'interface', 'ipv4', 'ipAddress', 'subnet', 'error', 'newest-versions', 'apiVersions'
$JsonKeys = @('vmId', 'azEnvironment', 'location', 'name', 'offer', 'sku', 'publisher', 'licenseType', 'osType', 'subscriptionId',
    'resourceGroupName', 'resourceId', 'isHostCompatibilityLayerVm' | ForEach-Object { "compute/$_" }) +
    @('interface/macAddress', 'ipAddress/privateIpAddress', 'subnet/address', 'subnet/prefix', 'error/message', '/error', '/error_description',
    '/encoding', '/signature', '/tenantId', 'newest-versions/newest-versions', 'apiVersions/apiVersions')
$AnswerLimit, $RecordLimit, $RuleLimit = 1MB, 20000, 300
$SeenRoom = 740 # bytes for what was seen, beside the block
$ConnectSeconds, $AnswerSeconds = 3, 5
$HeadSeconds, $DownloadSeconds = 20, 60 # until an answer begins; for all tries
$Deadline, $Grace = 20, 30 # seconds: imds-check's own, and what starting it may cost where an antivirus looks at it first
$ReportLimit = 3900 # bytes, every line end counted as two
$TrustedInstaller = 'S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464'

# --- the flow ---

function Start-Check([string[]]$unknown) {
    if ($unknown) {
        $known = 'ExpectedMac, ExpectedIp, ExeUri, ExePath, Arguments and ExitCode'
        $names = @($unknown -match '^-\w' -replace ':.*') # values may be secret
        return Write-Report inconclusive 2 "Wrong parameters: $(if ($names) { "$names" } else { 'a value without a name' }). There are $known."
    }
    if ($Constrained) { return Write-Collected 'a policy keeps PowerShell to ConstrainedLanguage mode, in which it may neither verify nor start it' }
    if (-not $ExePath -and -not $ExeUri -and -not [IO.File]::Exists((Get-KeptPath))) { return Write-Collected }
    try { $exe = Get-Exe } catch { return Write-Collected (Get-Reason $_.Exception) }
    try { $ran = Invoke-Program $exe.Name (Get-CommandLine) ($Deadline + $Grace) }
    catch { return Write-Collected "it could not be started: $(Get-Reason $_.Exception)" }
    finally { $exe.Dispose() }
    if ($ran.Err) { [Console]::Error.Write($ran.Err) }
    $message = Get-Plain $ran.Err.Trim() 300
    if ($null -eq $ran.Code) { return Write-Collected "it had not ended after $($Deadline + $Grace) s, and was killed" }
    if ($ran.Code -eq 2 -and -not $ran.Out) { return Write-Report inconclusive 2 "Wrong parameters$(Get-Detail ": $message")" }
    if ($ran.Code -notin 0, 1, 3 -or -not $ran.Out) {
        return Write-Collected "it ended with exit code $($ran.Code) and without a report$(if ($message) { ": $message" })"
    }
    $Ending.Code = if ($ran.Out -match '(?m)^END IMDS-CHECK .* exit=(\d) ') { [int]$Matches[1] } else { $ran.Code }
    $ran.Out -replace '\r?\n\z' # the host ends the line
}

# The options of imds-check, quoted as CommandLineToArgvW reads them.
function Get-CommandLine {
    $options = @()
    if ($ExpectedMac.Trim()) { $options += '--expected-mac', $ExpectedMac.Trim() }
    if ($ExpectedIp.Trim()) { $options += '--expected-ip', $ExpectedIp.Trim() }
    @($options + $Words | ForEach-Object { '"' + ($_ -replace '(\\*)"', '$1$1\"' -replace '(\\+)\z', '$1$1') + '"' }) -join ' '
}

# --- the exe ---

function Get-KeptPath { "$([Environment]::GetFolderPath('ProgramFiles'))\imds-check\imds-check-$("$ExeSha256".PadRight(16).Substring(0, 16)).exe" }

# Gives imds-check.exe, verified, as an open file that nobody can change; throws why it cannot be had.
function Get-Exe {
    if ($ExeSha256.Length -ne 64) { throw 'this script was built without the exe, so it knows no SHA-256 that may run' }
    New-Folder
    $kept = Get-KeptPath
    $reasons, $uri, $exe = @(), $null, $null
    if ($ExePath) {
        try {
            if ($ExePath -match '[\x00-\x1F]') { throw 'it holds a line break, for which Run Command may take "\n": write "/"' }
            if ($ExePath -notmatch '^([A-Za-z]:)?[\\/]') { throw 'it is not a whole path' }
            $given = Open-Exe $ExePath
            try { Save-Exe $given $kept } finally { $given.Dispose() }
        }
        catch { $reasons += "ExePath$(Get-Detail " $ExePath"): $(Get-Reason $_.Exception)." }
    }
    if ([IO.File]::Exists($kept)) {
        try { $exe = Open-Exe $kept }
        catch { $reasons += "The copy that an earlier run kept: $(Get-Reason $_.Exception)." }
    }
    if (-not $exe) {
        try {
            $uri = Get-Uri
            if (-not $uri) { throw 'none was given, and no earlier run has left the exe here' }
            Save-Exe (Receive-Exe $uri) $kept
            $exe = Open-Exe $kept
        }
        catch {
            $shown = if ($uri) { Get-Detail " $($uri.Scheme)://$($uri.Authority)$($uri.AbsolutePath)" } # no query: it may be secret
            throw "$reasons ExeUri${shown}: $(Get-Reason $_.Exception)"
        }
    }
    foreach ($reason in $reasons) { [Console]::Error.WriteLine("imds-check.ps1: $(Get-Plain $reason 600)") }
    return $exe
}

# Opens a file for reading; nobody can write, rename or remove it until it is closed. Throws where it is not the exe.
function Open-Exe([string]$path) {
    if (-not [IO.File]::Exists($path)) { throw 'there is no such file' }
    foreach ($pause in 300, 1000, 0) {
        try { $file = [IO.FileStream]::new($path, 'Open', 'Read', 'Read'); break }
        catch { if ($pause) { [Threading.Thread]::Sleep($pause) } else { throw } } # an antivirus may be looking at it
    }
    try { Confirm-Exe $file } catch { $file.Dispose(); throw }
    return $file
}

function Confirm-Exe([IO.Stream]$content) {
    $content.Position = 0
    if ($content.ReadByte() -eq 60) { throw 'it begins with "<": a page, of a sign-in, a proxy or an error, and not the exe' }
    if ($content.Length -ne $ExeSize) {
        throw "it has $($content.Length) bytes instead of ${ExeSize}: another version of imds-check.exe than $Version, or a part of it"
    }
    $content.Position = 0
    $found = Get-Sha256 $content
    if ($found -ne $ExeSha256) { throw "its SHA-256 is $found, and that of imds-check.exe $Version is ${ExeSha256}: it was not run" }
}

function Get-Sha256([IO.Stream]$content) {
    $sha256 = [Security.Cryptography.SHA256CryptoServiceProvider]::new() # SHA256Managed is refused where FIPS is required
    [BitConverter]::ToString($sha256.ComputeHash($content)).Replace('-', '').ToLowerInvariant()
}

# Keeps a verified exe, unless it is kept already.
function Save-Exe([IO.Stream]$content, [string]$kept) {
    if ([IO.File]::Exists($kept)) { try { (Open-Exe $kept).Dispose(); return } catch { [IO.File]::Delete($kept) } }
    $part = "$kept.$PID"
    try {
        $file = [IO.FileStream]::new($part, 'Create', 'Write', 'None')
        try { $content.Position = 0; $content.CopyTo($file) } finally { $file.Dispose() }
        [IO.File]::Move($part, $kept)
    }
    finally { [IO.File]::Delete($part) } # which is silent where there is none
}

# Makes the folder where the exe is kept; throws where somebody else may write there.
# Others cannot plant a folder in %ProgramFiles%, and policies usually let run what lies there.
function New-Folder {
    $programs = [Environment]::GetFolderPath('ProgramFiles')
    Confirm-Folder $programs 'look who may write there, and take that right away'
    $folder, $access = "$programs\imds-check", [Security.AccessControl.DirectorySecurity]::new()
    # Administrators own it, they and SYSTEM have all rights, nothing is inherited.
    $access.SetSecurityDescriptorSddlForm('O:BAG:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
    try {
        if ([IO.Directory]::Exists($folder)) { }
        elseif ($IsFramework) { [void][IO.Directory]::CreateDirectory($folder, $access) }
        else { [void][IO.FileSystemAclExtensions]::CreateDirectory($access, $folder) }
    }
    catch { throw "$folder cannot be made: $(Get-Reason $_.Exception)" }
    Confirm-Folder $folder 'look at it, and remove it'
}

function Confirm-Folder([string]$path, [string]$advice) {
    $folder, $kind = [IO.DirectoryInfo]::new($path), [Security.Principal.SecurityIdentifier]
    $access = if ($IsFramework) { $folder.GetAccessControl() } else { [IO.FileSystemAclExtensions]::GetAccessControl($folder) }
    $own = [Security.Principal.WindowsIdentity]::GetCurrent().User.Value
    $trusted = 'S-1-5-18', 'S-1-5-32-544', $TrustedInstaller, $own # SYSTEM, Administrators
    $owner = $access.GetOwner($kind).Value
    # 0x500D0146: the rights to write, to delete, to change owner or rights (winnt.h)
    $writers = @($access.GetAccessRules($true, $true, $kind) | Where-Object {
            "$($_.AccessControlType)" -eq 'Allow' -and "$($_.PropagationFlags)" -notmatch 'InheritOnly' -and
            [int]$_.FileSystemRights -band 0x500D0146 -and $trusted -notcontains $_.IdentityReference.Value })
    $wrong = if ("$($folder.Attributes)" -match 'ReparsePoint') { 'is a link that leads elsewhere' }
    elseif ($trusted -notcontains $owner) { "belongs to another user$(Get-Detail " ($owner)")" }
    elseif ($writers) { "can be written by another user$(Get-Detail " ($($writers[0].IdentityReference))")" }
    if ($wrong) { throw "the folder $path $wrong, so nothing in it is run: $advice" }
}

# --- the network ---

# ExeUri, plain or in base64. http:// will do as well: the checksum decides what is run.
function Get-Uri {
    $text = $ExeUri.Trim()
    if ($text -eq 'release') { $text = $DefaultUri; if (-not $text) { throw 'this script was built without an address: give one' } }
    elseif ($text -and $text -notmatch '^https?://') {
        try { $bytes = [Convert]::FromBase64String($text) } catch { $bytes = [byte[]]@() }
        $text = [Text.Encoding]::UTF8.GetString($bytes).Replace("`0", '') # UTF-16 too
        if ($text -notmatch '^https?://') { throw 'it is neither an https:// address nor one in base64' }
    }
    try { if ($text) { [Uri]::new($text) } } catch { throw 'it is not a valid address' }
}

# Downloads the exe into memory, and verifies it there.
function Receive-Exe([Uri]$uri) {
    $until = [DateTime]::UtcNow.AddSeconds($DownloadSeconds)
    foreach ($pause in 2, 4, 0) {
        $passes = $true # what is wrong may pass
        try {
            $answer = Open-Url $uri ([Math]::Min($HeadSeconds, ($until - [DateTime]::UtcNow).TotalSeconds))
            try {
                $status, $from = [int]$answer.StatusCode, $answer.ResponseUri.Host
                $passes = $status -in 408, 429 -or $status -ge 500
                if ($status -in 401, 403) {
                    throw "HTTP $status, access denied: a signature (SAS) has expired, or the address was cut at `"&`" (base64 is not)"
                }
                if ($status -ne 200) { throw "HTTP $status$(if ($status -eq 404) { ', not found: look at the address' })" }
                if ($answer.ContentType -like 'text/html*') {
                    throw "a page in HTML came$(Get-Detail " from $from"), of a sign-in, a proxy or a web site, and not the exe"
                }
                $passes = $true
                $content = Read-Body $answer $ExeSize $until
            }
            finally { $answer.Close() }
            $passes = $false
            Confirm-Exe $content
            return $content
        }
        catch {
            if (-not $passes -or -not $pause -or [DateTime]::UtcNow.AddSeconds($pause) -gt $until) { throw }
            [Threading.Thread]::Sleep(1000 * $pause)
        }
    }
}

# One GET; gives the answer, whatever its status, as soon as its head has come.
function Open-Url([Uri]$uri, [double]$seconds) {
    if ($IsFramework) { # which does not ask for TLS 1.2 by itself
        [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    }
    $request = [Net.WebRequest]::Create($uri)
    $request.UserAgent = "imds-check/$Version"
    try {
        $task = $request.GetResponseAsync()
        if ($task.Wait([Math]::Max(1, [int](1000 * $seconds)))) { return $task.Result }
    }
    catch {
        for ($inner = $_.Exception; $inner; $inner = $inner.InnerException) {
            if ($inner -is [Net.WebException] -and $inner.Response) { return $inner.Response }
        }
        throw
    }
    $request.Abort()
    throw "no answer in $([int]$seconds) s"
}

# The body of an answer, of at most so many bytes.
function Read-Body([Net.WebResponse]$answer, [long]$limit, [DateTime]$until) {
    $content, $buffer, $stream = [IO.MemoryStream]::new(), [byte[]]::new(65536), $answer.GetResponseStream()
    $expected = $answer.ContentLength # -1: not told
    if ($expected -gt $limit) { throw "it has $expected bytes, more than $limit" }
    while ($true) {
        $got, $why = 0, ''
        try {
            $left = [int]($until - [DateTime]::UtcNow).TotalMilliseconds
            $read = $stream.ReadAsync($buffer, 0, $buffer.Length)
            if ($left -gt 0 -and $read.Wait($left)) { $got = $read.Result } else { $why = 'the time was over' }
        }
        catch { $why = Get-Reason $_.Exception }
        if (-not $why -and -not $got -and $content.Length -lt $expected) { $why = 'the connection was closed' }
        if ($why) { throw "cut after $($content.Length)$(if ($expected -ge 0) { " of $expected" }) bytes: $why" }
        if (-not $got) { return $content }
        $content.Write($buffer, 0, $got)
        if ($content.Length -gt $limit) { throw "it has more than $limit bytes" }
    }
}

# --- programs ---

# Runs a program for at most so many seconds. Its exit code is $null where it had to be killed.
function Invoke-Program([string]$file, [string]$options, [double]$seconds) {
    $start = [Diagnostics.ProcessStartInfo]::new($file, $options)
    $start.UseShellExecute, $start.CreateNoWindow, $start.WorkingDirectory = $false, $true, [Environment]::SystemDirectory
    $start.RedirectStandardInput = $start.RedirectStandardOutput = $start.RedirectStandardError = $true
    $process = [Diagnostics.Process]::Start($start)
    try {
        $out, $err, $code = [IO.MemoryStream]::new(), [IO.MemoryStream]::new(), $null
        $reading = $process.StandardOutput.BaseStream.CopyToAsync($out), $process.StandardError.BaseStream.CopyToAsync($err)
        $process.StandardInput.Close()
        if ($process.WaitForExit([int](1000 * $seconds))) { $code = $process.ExitCode } else { Stop-Program $process }
        [void][Threading.Tasks.Task]::WaitAll([Threading.Tasks.Task[]]$reading, 2000) # a child left behind may hold them open
        $out, $err = $out, $err | ForEach-Object { $Latin.GetString($_.ToArray()) }
        return @{ Code = $code; Out = $out; Err = $err }
    }
    finally { $process.Dispose() }
}

function Invoke-Tool([string]$name, [string]$options, [double]$seconds) {
    $ran = Invoke-Program "$([Environment]::SystemDirectory)\$name.exe" $options (Get-Left $seconds)
    if ($null -eq $ran.Code) { throw "$name.exe did not end, and was killed" }
    $ran.Out
}

function Stop-Program([Diagnostics.Process]$process) {
    try {
        if (-not $IsFramework) { return $process.Kill($true) }
        $start = [Diagnostics.ProcessStartInfo]::new("$([Environment]::SystemDirectory)\taskkill.exe", "/F /T /PID $($process.Id)")
        $start.UseShellExecute, $start.CreateNoWindow = $false, $true
        [void][Diagnostics.Process]::Start($start).WaitForExit(5000)
        if (-not $process.HasExited) { $process.Kill() }
    }
    catch { } # it has just ended by itself
}

# --- the report without the exe ---

# Collects, and prints what was seen and the block. $why: why the exe did not run, where it was to.
function Write-Collected([string]$why) {
    $seen = @('CHECKS')
    if ($Constrained) {
        try { $metadata = Test-MetadataByCurl } catch { $metadata = @{ Status = 'error'; Text = Get-Reason $_.Exception } }
        $seen += Get-CheckLine imds.metadata $metadata
        if (-not $Redact) { $seen += @('EVIDENCE') + (Get-RouteLine (Get-RouteRow)) }
    }
    else {
        Get-Material
        $metadata = $Gathered.Metadata
        $seen += (Get-CheckLine imds.reachable $Gathered.Reachable), (Get-CheckLine imds.metadata $metadata)
        $seen += Get-CheckLine wireserver.reachable $Gathered.WireServer
        if (-not $Redact) { $seen += @($Gathered.Proofs) + @($Gathered.Proxies | ForEach-Object { "  note  proxy                $_ is set on this VM" }) + 'EVIDENCE' + (Get-RouteLine $Gathered.Routes) + $Gathered.Source + $Gathered.Adapters }
    }
    $verdict, $code, $found = 'broken', 1, 'IMDS does not give this VM its metadata.'
    if ($metadata.Status -eq 'ok') { $verdict, $code, $found = 'inconclusive', 3, 'IMDS answers. What else may be wrong was not judged here.' }
    if ($metadata.Status -eq 'error') { $verdict, $code, $found = 'inconclusive', 3, 'Whether IMDS answers could not be found out.' }
    $said = @($found)
    if ($why) { $said += "imds-check.exe did not run: $($why.Trim(' .'))." }
    $fix = @('For the cause: copy this whole text, and run "imds-check decode" on it, anywhere with Python (Azure Cloud Shell has it).')
    if ($Constrained) { $fix = @("Let the policy allow the SHA-256 $ExeSha256, and run imds-check.exe by itself.") }
    elseif ($Redact) { $fix = @('For the cause: run this without --redact, and "imds-check decode --redact" on its output.') }
    $fix += 'https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection'
    Write-Report $verdict $code $said $fix $seen -WithRaw:(-not $Redact -and -not $Constrained)
}

# Prints a report as imds-check does. $seen is cut where there is no room.
function Write-Report([string]$verdict, [int]$code, [string[]]$said, [string[]]$fix, [string[]]$seen, [string]$cause = '-', [switch]$WithRaw) {
    $Ending.Code = $code
    $at = "$($Began.ToString('s'))Z"
    $seconds = Get-Rounded ([DateTime]::UtcNow - $Began).TotalSeconds '0.0'
    $lines = @("IMDS-CHECK $Version  $HostName  $at  $seconds s", "VERDICT  $($verdict.ToUpperInvariant())")
    foreach ($text in $said) { $lines += Get-Wrapped $text '  ' }
    if ($fix) { $lines += 'FIX' }
    foreach ($text in $fix) { $lines += if ($text -like 'http*') { "  $text" } else { Get-Wrapped $text '  - ' } }
    $end = "END IMDS-CHECK verdict=$verdict cause=$cause exit=$code host=$HostName at=$at v=$Version"
    $left = $ReportLimit
    foreach ($line in $lines + $end) { $left -= $line.Length + 2 }
    $raw = @()
    if ($WithRaw) {
        Add-Record 1 (@('done') + $Gathered.Done)
        Add-Record 1 'run', $Version, $HostName, $at, (Get-Rounded ([DateTime]::UtcNow - $Began).TotalSeconds '0.000'), $PID
        $raw = @(Get-Block ($left - $SeenRoom))
        foreach ($line in $raw) { $left -= $line.Length + 2 }
    }
    $left -= 20 # for the line that says how many are left out
    for ($shown = 0; $seen -and $shown -lt $seen.Count; $shown++) {
        $line = Get-Plain $seen[$shown] 240
        $left -= $line.Length + 2
        if ($left -lt 0) { $lines += "  (+$($seen.Count - $shown) more)"; break }
        $lines += $line
    }
    $lines
    $raw
    $end
}

# A text in indented lines.
function Get-Wrapped([string]$text, [string]$indent) {
    foreach ($part in [regex]::Matches((Get-Plain $text 900), '.{1,112}(?:\s+|$)|\S{1,112}')) {
        $indent + $part.Value.TrimEnd()
        $indent = ' ' * $indent.Length
    }
}

# One line of printable ASCII.
function Get-Plain([string]$text, [int]$limit) {
    $text = (Get-Begin $text ($limit + 1)) -replace '[\t\r\n]', ' '
    $plain = [regex]::Replace($text, '[^ -~]', { param($match) '\u{0:X4}' -f [int][char]$match.Value })
    if ($plain.Length -gt $limit) { return $plain.Substring(0, $limit - 3) + '...' }
    return $plain
}

function Get-CheckLine([string]$id, $check) { '  {0,-5} {1,-20} {2}' -f $check.Status, $id, $check.Text }

function Get-Begin([string]$text, [int]$limit) { $text.Substring(0, [Math]::Min($limit, $text.Length)) }

# A text that a redacted report does not have.
function Get-Detail([string]$text) { if (-not $Redact) { $text } }

function Get-Rounded([double]$number, [string]$form) { $number.ToString($form, $Invariant) }

# Asks IMDS where PowerShell itself may not: curl.exe is in Windows since 10 1803 and Server 2019.
function Test-MetadataByCurl {
    $curl = "$env:SystemRoot\System32\curl.exe"
    if (-not (Get-Command $curl -ErrorAction Ignore)) {
        return @{ Status = 'error'; Text = 'PowerShell may not ask, and there is no curl.exe' }
    }
    $options = '-q', '--noproxy', '*', '--silent', '--max-time', $AnswerSeconds, '--max-filesize', 1048576
    $text = (& $curl $options --header 'Metadata: true' "http://$Imds$InstancePath") -join "`n"
    if ($text -match '"vmId"\s*:\s*"([0-9A-Fa-f-]{36})"') { return @{ Status = 'ok'; Text = "by curl.exe$(Get-Detail ", vmId $($Matches[1])")" } }
    return @{ Status = 'fail'; Text = "exit code $LASTEXITCODE of curl.exe, $($text.Length) characters: not the metadata of a VM" }
}

# The rows of the routing table as route.exe prints them: destination, mask, gateway ('': on-link), interface, metric.
function Get-RouteRow {
    $printed = if ($Constrained) { (& "$env:SystemRoot\System32\route.exe" print -4) -join "`n" } else { Invoke-Tool route 'print -4' 5 }
    foreach ($match in [regex]::Matches($printed, "(?m)^ *$Ip +$Ip +(\S.*?) +$Ip +(\d+) *\r?$")) {
        $row = @(1..5 | ForEach-Object { $match.Groups[$_].Value })
        if ($row[2] -notmatch "^$Ip$") { $row[2] = '' } # in the words of Windows' language
        , $row
    }
}

# Those that lead to the platform's addresses, as lines; > at the one that wins.
function Get-RouteLine([object[]]$rows) {
    $columns = '{0,-16}{1,-16}{2,-16}{3,-16}{4,5}'
    $leading = @(foreach ($row in $rows) {
            $leads = @(Get-Led $row)
            $gateway = if ($row[2]) { $row[2] } else { 'On-link' }
            $text = $columns -f $row[0], $row[1], $gateway, $row[3], $row[4]
            if ($leads) { @{ Leads = $leads; Mask = Get-Number $row[1]; Metric = [long]$row[4]; Text = $text; Mark = ' ' } }
        })
    foreach ($address in $Imds, $WireServer) {
        $best = $null
        foreach ($row in $leading | Where-Object { $_.Leads -contains $address }) {
            $wins = -not $best -or $row.Mask -gt $best.Mask -or ($row.Mask -eq $best.Mask -and $row.Metric -lt $best.Metric)
            if ($wins) { $best = $row }
        }
        if ($best) { $best.Mark = '>' }
    }
    "  $columns" -f 'Destination', 'Netmask', 'Gateway', 'Interface', 'Metric'
    if ($leading) { foreach ($row in $leading) { "$($row.Mark) $($row.Text)" } } else { "  none leads to $Imds or $WireServer" }
}

function Get-Led([object[]]$row) {
    $Imds, $WireServer | Where-Object { ((Get-Number $_) -band (Get-Number $row[1])) -eq (Get-Number $row[0]) }
}

function Get-Number([string]$address) {
    $number = [long]0
    foreach ($part in $address.Split('.')) { $number = 256 * $number + [int]$part }
    return $number
}

# --- the raw material ---
#
# It is not judged here. A record is a line of fields; its rank says how much it matters.
# runcommand/system/recorded.py and runcommand/probes/recorded.py list them.

# Adds a record: its fields between tabs; a tab, a line end and a backslash in them are escaped.
function Add-Record([int]$rank, [object[]]$fields) {
    $texts = foreach ($field in $fields) {
        "$field".Replace('\', '\\').Replace("`t", '\t').Replace("`n", '\n').Replace("`r", '\r')
    }
    $line = $texts -join "`t"
    $Records.Add(@{ Rank = $rank; Part = $Gathered.Part; Line = $line; Fits = $line.Length -le $RecordLimit })
}

# Runs a part of the collecting; a failure is a record.
function Invoke-Part([string]$name, [scriptblock]$part) {
    $Gathered.Part = $name
    if ([DateTime]::UtcNow -gt $CollectUntil) { return Add-Record 1 'missing', $name, 'not begun when the time was up' }
    try { [void](& $part); $Gathered.Done += $name } catch { Add-Record 1 'missing', $name, "$(Get-Reason $_.Exception) at line $($_.InvocationInfo.ScriptLineNumber)" }
}

# So many seconds, or what is left for the collecting.
function Get-Left([double]$seconds) { [Math]::Max(0.1, [Math]::Min($seconds, ($CollectUntil - [DateTime]::UtcNow).TotalSeconds)) }

function Get-Material {
    $CollectUntil = [DateTime]::UtcNow.AddSeconds([Math]::Min(15, 0.75 * $Deadline))
    $Gathered.Reachable = $Gathered.Metadata = $Gathered.WireServer = @{ Status = 'error'; Text = 'not tried' }
    if ($ExpectedMac -or $ExpectedIp) { Add-Record 1 'given', $ExpectedMac.Trim(), $ExpectedIp.Trim() }
    Invoke-Part 'adapters' { Add-Adapter }
    Invoke-Part 'proxies' { Add-ProxySetting }
    Invoke-Part 'lookups' { Add-Source }
    Invoke-Part 'imds' { Add-Try }
    Invoke-Part 'routes' { Add-Route }
    Invoke-Part 'firewall' { Add-Firewall }
    Invoke-Part 'machine' { Add-Machine }
    Invoke-Part 'neighbours' { Add-Neighbour }
    Invoke-Part 'services' { Add-Service }
    Invoke-Part 'listeners' { Add-TcpRow }
}

# Connects side by side. Each place (Get-Place) gets Code (a number of Winsock, 0: connected, -1: no answer in time),
# Seconds, Local and, where it is connected, Client.
function Connect-Place([object[]]$places) {
    $clock, $seconds = [Diagnostics.Stopwatch]::StartNew(), (Get-Left $ConnectSeconds)
    foreach ($place in $places) {
        $place.Code, $place.Local, $place.Client, $place.Task, $place.Seconds = -1, '', $null, $null, [double]$ConnectSeconds
        try {
            $place.Client = [Net.Sockets.TcpClient]::new([Net.Sockets.AddressFamily]::InterNetwork)
            if ($place.Source) { $place.Client.Client.Bind([Net.IPEndPoint]::new([Net.IPAddress]$place.Source, 0)) }
            $place.Task = $place.Client.ConnectAsync([Net.IPAddress]$place.Address, $place.Port)
        }
        catch { $place.Code, $place.Seconds = (Get-SocketError $_.Exception), 0 }
    }
    while ($clock.Elapsed.TotalSeconds -lt $seconds) {
        $waiting = $false
        foreach ($place in $places) {
            if ($place.Code -ne -1) { continue }
            if (-not $place.Task.IsCompleted) { $waiting = $true; continue }
            $place.Seconds = $clock.Elapsed.TotalSeconds
            $place.Code = if ($place.Task.IsFaulted) { Get-SocketError $place.Task.Exception } else { 0 }
        }
        if (-not $waiting) { break }
        [Threading.Thread]::Sleep(5)
    }
    foreach ($place in $places) {
        if (-not $place.Client) { continue }
        try { $place.Local = "$($place.Client.Client.LocalEndPoint.Address)" -replace '^0\.0\.0\.0$' } catch { }
        if ($place.Code -ne 0) { $place.Client.Close() }
    }
}

function Get-Place([string]$key, [string]$address, [int]$port, [string]$source) { @{ Key = $key; Address = $address; Port = $port; Source = $source } }

# Winsock's number in an exception, or -2.
function Get-SocketError($exception) {
    for ($inner = $exception; $inner; $inner = $inner.InnerException) {
        if ($inner -is [Net.Sockets.SocketException]) { return [int]$inner.SocketErrorCode }
    }
    return -2
}

# Sends one GET. Gives the answer's bytes as text (Latin-1), and how it ended.
function Receive-Answer($place, [string]$target, [string]$name, [double]$seconds, [string]$headers) {
    $clock, $ended, $seconds = [Diagnostics.Stopwatch]::StartNew(), 'closed', (Get-Left $seconds)
    $content, $buffer = [IO.MemoryStream]::new(), [byte[]]::new(65536)
    try {
        $stream = $place.Client.GetStream()
        $stream.WriteTimeout = [int](1000 * $seconds)
        $request = $Latin.GetBytes("GET $target HTTP/1.1`r`nHost: $name`r`n${headers}User-Agent: imds-check`r`nConnection: close`r`n`r`n")
        $stream.Write($request, 0, $request.Length)
        while ($true) {
            $left = [int](1000 * ($seconds - $clock.Elapsed.TotalSeconds))
            if ($left -le 0) { $ended = 'timeout'; break }
            $read = $stream.ReadAsync($buffer, 0, $buffer.Length)
            if (-not $read.Wait($left)) { $ended = 'timeout'; break }
            if (-not $read.Result) { break }
            $content.Write($buffer, 0, $read.Result)
            if ($content.Length -gt $AnswerLimit) { $ended = 'endless'; break }
            if (Test-Whole $Latin.GetString($content.GetBuffer(), 0, [Math]::Min(16384, [int]$content.Length)) $content) { $ended = 'whole'; break }
        }
    }
    catch { $ended = "$(Get-SocketError $_.Exception)" }
    finally { $place.Client.Close() }
    return @{ Text = $Latin.GetString($content.ToArray()); Ended = $ended; Seconds = $clock.Elapsed.TotalSeconds
        At = "$([DateTime]::UtcNow.ToString('s'))Z" }
}

# Whether an answer ($text: its beginning) has ended.
function Test-Whole([string]$text, [IO.MemoryStream]$content) {
    $at = $text.IndexOf("`r`n`r`n")
    if ($at -lt 0) { return $false }
    $head = $text.Substring(0, $at)
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') {
        return [Text.Encoding]::ASCII.GetString($content.GetBuffer(), [Math]::Max(0, [int]$content.Length - 7), 7) -eq "`r`n0`r`n`r`n"
    }
    return $head -match '(?im)^Content-Length:\s*(\d{1,9})\s*$' -and $content.Length - $at - 4 -ge [int]$Matches[1]
}

# Adds a try, with what of its answer may leave this VM.
function Add-TryRecord([int]$rank, $place, [string]$target, $answer) {
    $fields = @('try', $place.Key, $place.Address, $place.Port, $place.Source, $place.Local, $place.Code,
        (Get-Rounded $place.Seconds '0.000'), $target)
    if (-not $answer) { return Add-Record $rank $fields }
    $head, $body = '', $answer.Text
    $at = $body.IndexOf("`r`n`r`n")
    if ($at -ge 0) { $head, $body = $body.Substring(0, $at), $body.Substring($at + 4) }
    $size = $body.Length
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') { $body = Get-Unchunked $body; $size = $body.Length }
    $kept = if ($at -ge 0) { Get-KeptBody $body }
    Add-Record $rank ($fields + @($answer.Ended, (Get-Rounded $answer.Seconds '0.000'), $answer.At, (Get-KeptHead $head), $size, $kept))
}

# The status line and the headers that are looked at.
function Get-KeptHead([string]$head) {
    $lines = @((Get-Begin $head 65536) -split "`r`n")
    $names = 'Server', 'Via', 'X-Squid-Error', 'Proxy-Agent', 'Content-Type', 'Content-Length', 'Transfer-Encoding', 'Location', 'Date'
    $kept = @($lines[0]) + @($lines | Where-Object { $names -contains ($_ -replace ':.*') } | Select-First 12)
    ($kept | ForEach-Object { Hide-Word (Get-Begin $_ 300) }) -join "`r`n"
}

# Of a body what may leave this VM: values of JSON, a page's title, the WireServer's versions.
function Get-KeptBody([string]$body) {
    $start = $body.TrimStart()
    if (-not $start) { return '' }
    if ($start -match '^(?:<\?xml[^>]*>\s*)?<Versions') { return "<Versions>$([regex]::Matches($body, '<Version>\d{4}-\d\d-\d\d</Version>') | Select-First 60)" }
    if ($start[0] -eq '<') {
        $title = [regex]::Match((Get-Begin $body 20000), '(?i)<title[^>]{0,100}>[^<]{1,200}').Value
        return "<html>$(Hide-Word $title)"
    }
    if ($start[0] -eq '{' -or $start[0] -eq '[') { return Get-KeptJson $start }
    return '-'
}

# JSON with only the values of $JsonKeys (enclosing key/key) and 40 items of a list; what is no JSON ends with "!".
function Get-KeptJson([string]$text) {
    $kept, $open, $key, $last, $dropped, $tokens = [Text.StringBuilder]::new(), [Collections.Generic.Stack[object]]::new(), '', '', 0, 0
    if ($text.Length -gt 262144) { return '!' }
    foreach ($match in [regex]::Matches($text, '("(?:[^"\\\x00-\x1F]|\\.)*")(\s*:)?|[^\s{}\[\]:,"]+|\S')) {
        $token, $bad = $match.Value, $false
        $holder = if ($open.Count) { $open.Peek() } else { @{ Key = ''; Close = ''; Count = 0 } }
        if ($match.Groups[2].Success) {
            $bad = $holder.Close -ne '}' -or $last -notin 'begin', ','
            $key, $last = $match.Groups[1].Value.Trim('"'), 'key'
        }
        elseif ($token -eq ',') { $bad, $last = ($last -ne 'value'), ',' }
        elseif ($token -eq '}' -or $token -eq ']') {
            $bad = $token -ne $holder.Close -or $last -in ',', 'key'
            if (-not $bad) { [void]$open.Pop() }
            if ($dropped) { $dropped-- } else { [void]$kept.Append($token) }
            $last = 'value'
        }
        else {
            $opens = $token -eq '{' -or $token -eq '['
            $bad = $last -eq 'value' -or ($holder.Close -eq '}' -and $last -ne 'key')
            if (-not $opens -and -not $match.Groups[1].Success) { $bad = $bad -or $token -cnotmatch '^(?:-?\d[\d.eE+-]*|true|false|null)$' }
            $holder.Count++
            $own = if ($holder.Close -eq '}') { $key } else { $holder.Key }
            $wanted = if ($opens) { $JsonObjects -ccontains $own } else { $JsonKeys -ccontains "$($holder.Key)/$own" }
            $wanted = $wanted -and -not $dropped -and $holder.Count -le 40
            if ($wanted) {
                if ($kept.Length -and '{', '[' -notcontains $kept[$kept.Length - 1]) { [void]$kept.Append(',') }
                if ($holder.Close -eq '}') { [void]$kept.Append("`"$key`":") }
                $token = Get-Begin $token 300
                if ($own -in 'signature', 'tenantId' -and $token.Length -gt 2) { $token = '"-"' }
                elseif ($own -in 'message', 'error', 'error_description') { $token = Hide-Word $token }
                [void]$kept.Append($token)
                if ($token[0] -eq '"' -and ($token.Length -lt 2 -or $token[$token.Length - 1] -ne '"')) { [void]$kept.Append('"') }
            }
            elseif ($opens) { $dropped++ }
            if ($opens) { $open.Push(@{ Key = $own; Close = @{ '{' = '}'; '[' = ']' }[$token]; Count = 0 }) }
            $last = if ($opens) { 'begin' } else { 'value' }
        }
        if ($bad -or ++$tokens -gt 20000 -or $kept.Length -gt 14000) { return "$(Get-Begin "$kept" 2000)!" }
    }
    return "$kept"
}

# The content of a chunked body (RFC 9112).
function Get-Unchunked([string]$body) {
    $whole, $at, $left = [Text.StringBuilder]::new(), 0, 5000
    while ($left-- -and $at -lt $body.Length) {
        $line = $body.IndexOf("`r`n", $at)
        if ($line -lt 0 -or $body.Substring($at, [Math]::Min(9, $line - $at)) -notmatch '^\s*([0-9A-Fa-f]{1,7})') { break }
        $length = [Convert]::ToInt32($Matches[1], 16)
        if (-not $length) { break }
        [void]$whole.Append($body.Substring($line + 2, [Math]::Min($length, $body.Length - $line - 2)))
        $at = $line + 2 + $length + 2
    }
    return "$whole"
}

# A text of the same length with x for what may be secret: what is before an @, and a query.
function Hide-Secret([string]$text) {
    $text = Get-Begin $text ($RecordLimit + 1) # there is no room for more
    if ($text -notmatch '[@?#]') { return $text }
    $end = $text.LastIndexOf([char]'@')
    if ($end -ge 0) {
        $hidden = [regex]::Replace($text.Substring(0, $end), '[^;\s\x00-\x1F]+(?![\x00-\x1F]\x00\x00)', { # a length in a binary value stays
                param($match)
                $scheme = [regex]::Match($match.Value, '^(?:\w{1,16}=)?(?:\w{1,16}://)?').Value
                $scheme + 'x' * ($match.Value.Length - $scheme.Length)
            })
        $text = $hidden + $text.Substring($end)
    }
    [regex]::Replace($text, '[?#][^\s\x00-\x1F]+', { param($match) '?' + 'x' * ($match.Value.Length - 1) })
}

# A text without what looks like a key or names one.
function Hide-Word([string]$text) {
    $text = [regex]::Replace((Hide-Secret $text), '(?i)((?:key|token|sig|signature|secret|pass\w*|pwd|psk|cookie|credential|authorization|bearer|basic)\W{1,8})(basic\s|bearer\s)?[^\s&;,"<]+', '$1x')
    [regex]::Replace($text, '[A-Za-z0-9+/_=%-]{32,}', 'x')
}

# All tries: plain, from each local address where IMDS did not answer, through the proxies.
function Add-Try {
    $CollectUntil = $CollectUntil.AddSeconds(-4) # for other parts
    $plain, $wire, $plugin = (Get-Place imds $Imds 80), (Get-Place wire $WireServer 80), (Get-Place plugin $WireServer 32526)
    Connect-Place @($plain, $wire, $plugin)
    if ($wire.Code -eq 0) { Add-TryRecord 1 $wire '/?comp=versions' (Receive-Answer $wire '/?comp=versions' $WireServer $AnswerSeconds) }
    else { Add-TryRecord 1 $wire }
    if ($plugin.Code -eq 0) { $plugin.Client.Close() }
    Add-TryRecord 1 $plugin
    $Gathered.Reachable = Get-TryCheck $plain
    $Gathered.WireServer = @{ Text = "port 80 $((Get-TryCheck $wire).Text); port 32526 $((Get-TryCheck $plugin).Text)"
        Status = if ($wire.Code -eq 0 -and $plugin.Code -eq 0) { 'ok' } else { 'fail' } }
    $Gathered.Metadata = @{ Status = 'skip'; Text = 'no answer' }
    $answer = $null
    foreach ($pause in 1, 2, 4, 0) {
        if ($plain.Code -ne 0) { Add-TryRecord 1 $plain $InstancePath; break }
        $answer = Receive-Answer $plain $InstancePath $Imds $AnswerSeconds "Metadata: true`r`n"
        Add-TryRecord 1 $plain $InstancePath $answer
        $Gathered.Metadata = Get-AnswerCheck $answer
        if ($answer.Text -notmatch '^HTTP/1\.[01] (410|429|5\d\d) ' -or -not $pause) { break }
        if ([DateTime]::UtcNow.AddSeconds($pause + 2) -gt $CollectUntil) { break }
        [Threading.Thread]::Sleep(1000 * $pause)
        Connect-Place @($plain)
    }
    $answers = $Gathered.Metadata.Status -eq 'ok'
    $others = @(Get-ProxyPlace)
    if (-not $answers) { $others = @($LocalAddresses.ToArray() | ForEach-Object { Get-Place trial $Imds 80 $_ }) + $others }
    if ($others) { Connect-Place $others }
    $left = 4
    foreach ($place in $others) {
        if ([DateTime]::UtcNow -gt $CollectUntil) { break }
        $rank, $target, $name, $headers = 1, $InstancePath, $Imds, "Metadata: true`r`n"
        if ($place.Key -ne 'trial') { $rank, $target = 5, "http://$Imds$InstancePath" }
        if ($place.Key -like 'wireproxy*') { $target, $name, $headers = "http://$WireServer/?comp=versions", $WireServer, '' }
        $path = $target -replace '^http://[^/]+'
        if ($place.Code -eq 0 -and ($place.Key -ne 'trial' -or $left -gt 0)) {
            $found = Receive-Answer $place $target $name 2 $headers
            Add-TryRecord $rank $place $path $found
            if ($place.Key -eq 'trial') {
                $left--
                if ((Get-AnswerCheck $found).Status -eq 'ok') { $left = 0; $Gathered.Proofs += "  note  imds.reachable       IMDS answers when asked from $($place.Source)" }
            }
            [Threading.Thread]::Sleep(300) # at most 3 requests a second
        }
        else { if ($place.Code -eq 0) { $place.Client.Close() }; Add-TryRecord $rank $place $path }
    }
    if ($answers) { Add-Identity $answer.Text }
}

function Get-TryCheck($place) {
    if ($place.Code -eq 0) { return @{ Status = 'ok'; Text = "connected$(Get-Detail " from $($place.Local)")" } }
    $text = Get-Meaning $place.Code
    if ($place.Code -eq -1) { $text = "timed out after $ConnectSeconds s" }
    if (-not $text) { $text = "failed: error $($place.Code)" }
    return @{ Status = 'fail'; Text = $text }
}

# What an answer looks like; it is not judged.
function Get-AnswerCheck($answer) {
    if ($answer.Text -notmatch '^HTTP/1\.[01] (\d{3})') { return @{ Status = 'fail'; Text = "no HTTP answer ($($answer.Ended))" } }
    $status, $size = $Matches[1], $answer.Text.Length
    if ($status -eq '200' -and $answer.Ended -in 'whole', 'closed' -and $answer.Text -match '"vmId"\s*:\s*"([0-9A-Fa-f-]{36})"') {
        return @{ Status = 'ok'; Text = "HTTP 200$(Get-Detail ", vmId $($Matches[1])")" }
    }
    return @{ Status = 'fail'; Text = "HTTP $status, $size bytes ($($answer.Ended)): not the metadata of a VM" }
}

# The proxies, as places to connect to.
function Get-ProxyPlace {
    foreach ($server in $Gathered.Proxies | Select-First 4) {
        $name, $port = $server.Split(':')
        $address, $code = $null, 11001
        try {
            if (-not [Net.IPAddress]::TryParse($name, [ref]$address)) {
                $task = [Net.Dns]::GetHostAddressesAsync($name)
                if ($task.Wait([int](1000 * (Get-Left 1.5)))) { $address = @($task.Result | Where-Object { "$_" -notmatch ':' })[0] }
            }
        }
        catch { $code = Get-SocketError $_.Exception }
        if ("$address" -in $Imds, $WireServer) { continue }
        if ($address) { Get-Place "proxy $server" $address $port; Get-Place "wireproxy $server" $address $port }
        else { Add-Record 5 'try', "proxy $server", '0.0.0.0', $port, '', '', $code, 2 }
    }
}

# The attested document, its chain, and whether there is a managed identity. $text: IMDS's answer.
function Add-Identity([string]$text) {
    $digits = [byte[]]::new(10)
    [Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($digits)
    $nonce = ($digits | ForEach-Object { $_ % 10 }) -join ''
    $path = "/metadata/attested/document?api-version=$ApiVersion&nonce=$nonce"
    $place = Get-Place attested $Imds 80
    Connect-Place @($place)
    if ($place.Code -ne 0) { Add-TryRecord 1 $place $path }
    else {
        $answer = Receive-Answer $place $path $Imds $AnswerSeconds "Metadata: true`r`n"
        Add-TryRecord 1 $place $path $answer
        if ($answer.Text -match '"signature"\s*:\s*"([A-Za-z0-9+/=\\]{1,60000})"') {
            $signature = $Matches[1].Replace('\/', '/')
            Add-Record 11 'document', $nonce, $signature
            $at = if ($text -match '(?im)^Date: ([^\r\n]{10,40})') { $Matches[1] }
            Invoke-Part 'certificate_chains' { Add-Chain ([Convert]::FromBase64String($signature)) $at }
            $Gathered.Part = 'imds'
        }
    }
    $place, $path = (Get-Place identity $Imds 80), "/metadata/identity/info?api-version=$ApiVersion"
    Connect-Place @($place)
    if ($place.Code -ne 0) { return Add-TryRecord 12 $place $path }
    Add-TryRecord 12 $place $path (Receive-Answer $place $path $Imds $AnswerSeconds "Metadata: true`r`n")
}

# The chains that Windows builds for the signer: from what is at hand and, where that does not do, by fetching.
function Add-Chain([byte[]]$signature, [string]$date) {
    $held = [Security.Cryptography.X509Certificates.X509Certificate2Collection]::new()
    $held.Import($signature)
    $leaf = $held[0]
    foreach ($item in $held) { if (-not @($held | Where-Object { $_.Issuer -eq $item.Subject })) { $leaf = $item; break } }
    $known = @()
    foreach ($way in 'hand', 'net') {
        $chain = [Security.Cryptography.X509Certificates.X509Chain]::new($true) # the machine's, as services have it
        # Offline keeps .NET Framework from fetching; "decode" takes away the two flags that it adds
        $chain.ChainPolicy.RevocationMode = if ($way -eq 'hand') { 'Offline' } else { 'NoCheck' }
        if ($PSVersionTable.PSVersion -ge [Version]'7.2') { $chain.ChainPolicy.DisableCertificateDownloads = $way -eq 'hand' }
        $chain.ChainPolicy.UrlRetrievalTimeout = [TimeSpan]::FromSeconds(1.5)
        if ($date) { try { $chain.ChainPolicy.VerificationTime = [DateTime]::Parse($date, $Invariant) } catch { } }
        foreach ($item in $held) { [void]$chain.ChainPolicy.ExtraStore.Add($item) }
        [void]$chain.Build($leaf)
        $number, $all = 0, 0
        foreach ($status in $chain.ChainStatus) { $all = $all -bor [int]$status.Status }
        $fields = @('chain', $way, $all)
        foreach ($element in $chain.ChainElements) {
            $flags, $item = 0, $element.Certificate
            foreach ($status in $element.ChainElementStatus) { $flags = $flags -bor [int]$status.Status }
            $begins, $ends = $item.NotBefore, $item.NotAfter | ForEach-Object { "$($_.ToUniversalTime().ToString('s'))Z" }
            $shown = if ($way -eq 'net' -and $known -contains $item.Thumbprint) { '', '', '', '' } else { $item.Subject, $item.Issuer, $begins, $ends }
            $fields += @($flags, $item.Thumbprint) + $shown
            if ($way -eq 'hand') {
                $known += $item.Thumbprint
                Add-Store $item.Thumbprint
                foreach ($extension in $item.Extensions | Where-Object { '2.5.29.17', '1.3.6.1.5.5.7.1.1' -contains $_.Oid.Value }) {
                    $rank = if ($number) { 12 } else { 10 }
                    Add-Record $rank 'extension', $item.Thumbprint, $extension.Oid.Value, ([Convert]::ToBase64String($extension.RawData))
                }
                if ($held.Thumbprint -notcontains $item.Thumbprint) {
                    Add-Record 12 'certificate', ([Convert]::ToBase64String($item.RawData))
                }
            }
            $number++
        }
        Add-Record 9 $fields
        if (-not ($all -band 0x10020)) { break } # PartialChain, UntrustedRoot: fetching may help
    }
}

function Add-Store([string]$thumbprint) {
    foreach ($root in 'SOFTWARE\Microsoft\SystemCertificates', 'SOFTWARE\Policies\Microsoft\SystemCertificates', 'SOFTWARE\Microsoft\EnterpriseCertificates') {
        foreach ($store in 'Root', 'AuthRoot', 'CA', 'Disallowed') {
            $key = Open-Key 10 HKLM "$root\$store\Certificates\$thumbprint"
            if ($key) { $key.Close(); Add-Record 10 'key', 'HKLM', "$root\$store\Certificates\$thumbprint" }
        }
    }
}

function Add-Adapter {
    $Gathered.Adapters = @()
    foreach ($nic in [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()) {
        $properties, $kind = $nic.GetIPProperties(), [int]$nic.NetworkInterfaceType
        try { $index = $properties.GetIPv4Properties().Index } catch { continue } # it has no IPv4
        $held = @(foreach ($item in $properties.UnicastAddresses) {
                if ("$($item.Address)" -notmatch ':') { "$($item.Address)/$($item.PrefixLength)/$([int]$item.SuffixOrigin)/$([int]$item.DuplicateAddressDetectionState)" } })
        $gateways = @([Linq.Enumerable]::Distinct([string[]]@($properties.GatewayAddresses | ForEach-Object { "$($_.Address)" } | Where-Object { $_ -notmatch ':' })))
        $servers = @([string[]]@($properties.DhcpServerAddresses) -notmatch ':')
        $dhcp = try { [int]$properties.GetIPv4Properties().IsDhcpEnabled } catch { '' }
        $rank = if ($held -and $kind -ne 24) { 3 } else { 12 } # 24: loopback
        Add-Record $rank 'adapter', $index, $nic.Id, $nic.Name, $nic.Description, $kind, "$($nic.GetPhysicalAddress())",
            ([int]$nic.OperationalStatus), ($held -join ' '), ($gateways -join ' '), ($servers -join ' '), $dhcp
        Add-Key $rank HKLM "$Services\Tcpip\Parameters\Interfaces\$($nic.Id)" `
            @('EnableDHCP', 'DhcpIPAddress', 'DhcpServer', 'DhcpDefaultGateway')
        if ($kind -eq 24 -or $kind -eq 131) { continue }
        if ("$($nic.OperationalStatus)" -ne 'Down') { foreach ($item in $held) { $LocalAddresses.Add($item.Split('/')[0]) } }
        $addresses = if ($held) { ($held -replace '/\d+/\d+$') -join ', ' } else { 'no address' }
        $mac = "$($nic.GetPhysicalAddress())" -replace '(..)(?!$)', '$1-'
        $Gathered.Adapters += @("  $index `"$($nic.Name)`"", $mac, "$($nic.OperationalStatus)".ToLowerInvariant(), $addresses) +
        @($servers | ForEach-Object { "dhcp $_" }) + @($gateways | ForEach-Object { "gateway $_" }) -join '  '
    }
}

function Add-Route {
    $Gathered.Routes = @(Get-RouteRow)
    foreach ($row in $Gathered.Routes) {
        $rank = if (Get-Led $row) { 2 } else { 12 }
        Add-Record $rank (@('route') + $row)
    }
    Add-Key 2 HKLM "$Services\Tcpip\Parameters\PersistentRoutes"
}

# The source that a connected UDP socket chooses (it sends nothing), or its error.
function Add-Source {
    foreach ($address in $Imds, $WireServer) {
        $socket, $line = [Net.Sockets.Socket]::new('InterNetwork', 'Dgram', 'Udp'), ''
        try {
            $socket.Connect([Net.IPAddress]$address, 9)
            Add-Record 4 'source', $address, $socket.LocalEndPoint.Address, ''
            $line = "  What goes to $address is sent from $($socket.LocalEndPoint.Address)"
        }
        catch {
            $code = Get-SocketError $_.Exception
            Add-Record 4 'source', $address, '', $code
            $line = "  Nothing can be sent to ${address}: $(Get-Meaning $code)"
        }
        finally { $socket.Close() }
        if ($address -eq $Imds) { $Gathered.Source = $line }
    }
}

function Add-Neighbour {
    $printed = Invoke-Tool arp '-a -v' 5
    $on = ''
    foreach ($line in $printed -split '\r?\n') {
        if ($line -match "^\S.*?$Ip.*?(0x[0-9a-f]+)") { $on = [Convert]::ToInt32($Matches[2], 16) }
        elseif ($line -match "^\s+$Ip\s+((?:[0-9a-f]{2}-){5}[0-9a-f]{2}|)\s+(\S+)") { Add-Record 8 'neighbour', $on, $Matches[1], $Matches[2], $Matches[3] }
    }
}

function Add-ProxySetting {
    $settings = 'Software\Microsoft\Windows\CurrentVersion\Internet Settings'
    $names = 'ProxyEnable', 'ProxyServer', 'ProxyOverride', 'AutoConfigURL', 'AutoDetect'
    $variables = 'http_proxy', 'all_proxy', 'no_proxy'
    Add-Key 5 HKLM "$settings\Connections" 'WinHttpSettings', 'DefaultConnectionSettings'
    Add-Key 5 HKLM $settings $names
    Add-Key 5 HKLM 'Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings' 'ProxySettingsPerUser'
    Add-Key 5 HKLM 'SYSTEM\CurrentControlSet\Control\Session Manager\Environment' $variables
    foreach ($sid in @($Users.GetSubKeyNames()) -match '^(S-1-.*(?<!_Classes)|\.DEFAULT)$' | Select-First 500) {
        $before = $Records.Count
        Add-Key 5 HKU "$sid\$settings" $names
        Add-Key 5 HKU "$sid\$settings\Connections" 'DefaultConnectionSettings'
        Add-Key 5 HKU "$sid\Environment" $variables
        if ($Records.Count -gt $before) { Add-Key 5 HKLM "$WindowsNT\ProfileList\$sid" 'ProfileImagePath' }
    }
    foreach ($name in $variables) {
        $value = [Environment]::GetEnvironmentVariable($name)
        if ($value) { Add-Record 5 'variable', $name, (Hide-Secret $value); Find-Proxy $value }
    }
}

# Notes what a text may name as a proxy, to be tried.
function Find-Proxy([string]$text) {
    if ($text.Length -gt $RecordLimit) { return }
    foreach ($match in [regex]::Matches((Hide-Secret $text), '(?i)(?:^|[;\s\x00-\x1F]|http=|http://|@)((?!\d+:)[a-z0-9_][\w.-]{0,252}):(\d{1,5})(?!\d)')) {
        $server = "$($match.Groups[1].Value):$($match.Groups[2].Value)"
        if ($Gathered.Proxies -notcontains $server -and [int]$match.Groups[2].Value -lt 65536) { $Gathered.Proxies += $server }
    }
}

# The firewall: profiles, and rules that could concern the platform; others are counted.
function Add-Firewall {
    $local, $policy = "$Services\SharedAccess\Parameters\FirewallPolicy", 'SOFTWARE\Policies\Microsoft\WindowsFirewall'
    $names = 'EnableFirewall', 'DefaultOutboundAction', 'AllowLocalPolicyMerge'
    $first = $Records.Count
    foreach ($root in $local, $policy, "$local\Mdm") {
        foreach ($profile in 'DomainProfile', 'PrivateProfile', 'PublicProfile', 'StandardProfile') { Add-Key 6 HKLM "$root\$profile" $names }
    }
    $near = [regex]::Escape($Imds) + '|' + [regex]::Escape($WireServer)
    $blocks = $false # whether what no rule allows is blocked: then rules that allow matter too
    for ($at = $first; $at -lt $Records.Count; $at++) { if ($Records[$at].Line -match 'DefaultOutboundAction\tDWord\t1(\t|$)') { $blocks = $true } }
    try { Add-Record 6 'profiles', ([Activator]::CreateInstance([Type]::GetTypeFromProgID('HNetCfg.FwPolicy2'))).CurrentProfileTypes }
    catch { Add-Record 6 'profiles', '', "INetFwPolicy2: $(Get-Reason $_.Exception)" }
    $networks = "$WindowsNT\NetworkList\Profiles"
    $key = Open-Key 6 HKLM $networks
    if ($key) { foreach ($name in $key.GetSubKeyNames() | Select-First 100) { Add-Key 6 HKLM "$networks\$name" 'Category' } }
    $stores = "$local\FirewallRules", "$policy\FirewallRules", "$local\Mdm\FirewallRules", "$local\RestrictedServices\Static\System",
        "$local\RestrictedServices\Configurable\System", "$local\RestrictedServices\AppIso\FirewallRules"
    foreach ($store in $stores) {
        $key = Open-Key 6 HKLM $store
        if (-not $key) { continue }
        $read, $left = 0, 0
        foreach ($name in $key.GetValueNames()) {
            $read++
            $value = $key.GetValue($name)
            $close = "$value" -match $near
            $matters = [DateTime]::UtcNow -lt $CollectUntil -and $read - $left -le $RuleLimit * (1 + 3 * $close) -and $value -is [string] -and $value.Length -lt 16384 -and $value -match '\|Dir=Out\|' -and $value -notmatch '\|Active=FALSE\|' -and
                ($blocks -or $value -notmatch '\|Action=Allow\|' -or $value -match '\|AuthByPassOut=') -and $value -notmatch '\|Protocol=(?!6\||256\|)\d+\|'
            if (-not $matters) { $left++; continue }
            $value = $value -replace '\|(Desc|EmbedCtxt)=[^|]*'
            if ($value -match '\|Name=([^|]+)') { $value = $value.Replace($Matches[1], (Hide-Word $Matches[1])) }
            Add-Record $(if ($close) { 6 } else { 7 }) 'rule', $store, $name, $value
        }
        Add-Record 5 'rules', $store, $read, $left
    }
}

function Add-Machine {
    Add-Key 7 HKLM $WindowsNT 'ProductName', 'DisplayVersion', 'ReleaseId', 'EditionID', 'CurrentBuildNumber', 'CurrentBuild', 'UBR'
    Add-Key 7 HKLM "$Services\mssmbios\Data" 'SMBiosData'
    $principal = [Security.Principal.WindowsPrincipal]::new([Security.Principal.WindowsIdentity]::GetCurrent())
    Add-Record 7 'elevated', ([int]$principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator))
    Add-Record 12 'variable', 'PROCESSOR_ARCHITECTURE', ([Environment]::GetEnvironmentVariable('PROCESSOR_ARCHITECTURE'))
}

function Add-Service {
    foreach ($name in 'WindowsAzureGuestAgent', 'RdAgent', 'GuestProxyAgent', 'himds', 'Dhcp', 'BFE', 'MpsSvc', 'W32Time') {
        $key = Open-Key 7 HKLM "$Services\$name"
        if (-not $key) { continue }
        $printed = Invoke-Tool sc "query $name" 3
        $state = if ($printed -match '(?m)^[^:\n]+:\s+(\d)\s+[A-Z_]+\s*$') { $Matches[1] } else { '' }
        Add-Record 7 'service', $name, $state, $key.GetValue('Start')
    }
}

# Who listens on ports that matter or has a connection to IMDS.
function Add-TcpRow {
    $printed = Invoke-Tool netstat '-ano -p TCP' 5
    foreach ($match in [regex]::Matches($printed, "(?m)^\s*TCP\s+${Ip}:(\d+)\s+${Ip}:(\d+)\s+(\S.*?)\s+(\d+)\s*$")) {
        $local, $port, $remote, $remotePort, $state, $id = 1..6 | ForEach-Object { $match.Groups[$_].Value }
        if (($remotePort -eq '0' -and $port -in '80', '3080') -or $remote -eq $Imds) {
            $program = try { "$([Diagnostics.Process]::GetProcessById([int]$id).ProcessName).exe" } catch { '' }
            Add-Record 12 'tcp', $state, $local, $port, $remote, $remotePort, $id, $program
        }
    }
}

# Opens a registry key; a failure is a record.
function Open-Key([int]$rank, [string]$root, [string]$path) {
    $hive = if ($root -eq 'HKU') { $Users } else { $Machine }
    try { $hive.OpenSubKey($path) } catch { Add-Record $rank 'nokey', $root, $path, (Get-Reason $_.Exception) }
}

# Adds values of a registry key: those that are named, or all.
function Add-Key([int]$rank, [string]$root, [string]$path, [string[]]$names) {
    $key = Open-Key $rank $root $path
    if (-not $key) { return }
    try {
        $fields = @('key', $root, $path)
        foreach ($name in $key.GetValueNames() | Where-Object { -not $names -or $names -contains $_ } | Select-First 500) {
            $value, $kind = $key.GetValue($name, $null, 'DoNotExpandEnvironmentNames'), "$($key.GetValueKind($name))"
            if ($value -is [byte[]]) {
                $text = if ($name -match 'Settings$|^SMBios') { $Latin.GetString($value) } else { '' } # no other is read
                if ($name -match 'Settings$') { Find-Proxy $text; $text = Hide-Secret $text }
                $value = [Convert]::ToBase64String($Latin.GetBytes($text))
            }
            else {
                if ($value -is [string[]]) { $value = $value -join "`0" }
                if ($name -in 'ProxyServer', 'http_proxy', 'all_proxy') { Find-Proxy "$value" }
                $value = Hide-Secret "$value"
            }
            $fields += $name, $kind, $value
        }
        if ($fields.Count -gt 3) { Add-Record $rank $fields }
    }
    finally { $key.Close() }
}

function Select-First([int]$count) { begin { $at = 0 } process { if ($at++ -lt $count) { $_ } } }

# The block: what fits into so many bytes, by rank, and how many records are left out.
function Get-Block([int]$room) {
    $room = [int](($room - 50) * 110 / 114) # for the first line, the last one, indents and line ends
    $sorted = @(foreach ($rank in 1..12) { foreach ($record in $Records) { if ($record.Rank -eq $rank) { $record } } })
    $low, $high = 0, [Math]::Min(2000, $sorted.Count)
    while ($low -lt $high) {
        $middle = [int][Math]::Ceiling(($low + $high) / 2)
        if ((Get-Packed $sorted $sorted[0..($middle - 1)]).Length -le $room) { $low = $middle } else { $high = $middle - 1 }
    }
    $chosen = @(if ($low) { $sorted[0..($low - 1)] })
    for ($at = $low; $at -lt [Math]::Min($low + 40, $sorted.Count); $at++) { # behind one that is too large
        if ((Get-Packed $sorted ($chosen + $sorted[$at])).Length -le $room) { $chosen += $sorted[$at] }
    }
    $packed = Get-Packed $sorted $chosen
    "RAW 1 $($packed.Length) $((Get-Sha256 ([IO.MemoryStream]::new([Text.Encoding]::ASCII.GetBytes($packed)))).Substring(0, 8))"
    for ($at = 0; $at -lt $packed.Length; $at += 110) { '  ' + (Get-Begin $packed.Substring($at) 110) }
    'RAW END'
}

function Get-Packed([object[]]$all, [object[]]$chosen) {
    $lines, $left = [Collections.Generic.List[string]]::new(), @{}
    foreach ($record in $all) { $left[$record.Part]++ }
    foreach ($record in $chosen) { if ($record.Fits) { $lines.Add($record.Line); $left[$record.Part]-- } }
    foreach ($part in $left.Keys) { if ($left[$part]) { $lines.Add("left`t$part`t$($left[$part])") } }
    $bytes, $memory = [Text.Encoding]::UTF8.GetBytes($lines -join "`n"), [IO.MemoryStream]::new()
    $deflate = [IO.Compression.DeflateStream]::new($memory, [IO.Compression.CompressionLevel]::Optimal, $true)
    $deflate.Write($bytes, 0, $bytes.Length)
    $deflate.Dispose()
    [Convert]::ToBase64String($memory.ToArray())
}

# --- errors, in words ---

# The reason in an exception, without a full stop.
function Get-Reason($exception) {
    if ($Constrained) { return $exception.Message.Trim(' .') }
    for ($inner = $exception; $inner; $inner = $inner.InnerException) {
        $last, $number = $inner, 0
        if ($inner -is [ComponentModel.Win32Exception]) { $number = $inner.NativeErrorCode }
        elseif ('{0:X8}' -f $inner.HResult -like '8007*') { $number = $inner.HResult -band 0xFFFF } # FACILITY_WIN32
        if ($inner -is [Security.Authentication.AuthenticationException] -or '{0:X8}' -f $number -like '8009*') { # FACILITY_SSPI
            return 'no TLS: this VM does not trust the certificate, its clock is wrong, or one side has no TLS 1.2'
        }
        $meaning = Get-Meaning $number
        if ($meaning) { return $meaning }
    }
    # The text of an error of Windows may name anything.
    if ($Redact -and $last -isnot [Management.Automation.RuntimeException]) { return $last.GetType().Name }
    return $last.Message.Trim(' .')
}

# What an error of Windows or of its sockets means (winerror.h).
function Get-Meaning([int]$number) {
    switch ($number) {
        { $_ -in 2, 3 } { return 'there is no such file' }
        { $_ -in 5, 1307, 1314 } { return 'access is denied: run this as SYSTEM or elevated, and look whether an antivirus denies it' }
        { $_ -in 32, 33 } { return 'another program, often an antivirus, keeps the file locked: run this again, or exclude it there' }
        { $_ -in 39, 112 } { return 'the disk is full: free 20 MB on the system drive' }
        { $_ -in 193, 216 } { return 'this Windows cannot run it: it is for 64-bit Windows 10, Server 2016 and later' }
        { $_ -in 225, 226 } { return "an antivirus takes it for harmful: allow the SHA-256 $ExeSha256 there" }
        { $_ -in @(577, 1260) + 4550..4580 } { return "a policy (AppLocker, App Control) forbids it: allow the SHA-256 $ExeSha256 there" }
        10013 { return 'forbidden on this VM, as by a firewall rule' }
        { $_ -in 10051, 10065 } { return 'no way leads there from this VM' }
        { $_ -in 10053, 10054 } { return 'the connection was cut' }
        10060 { return 'no answer in time' }
        10061 { return 'the connection was refused' }
        { $_ -in 11001..11004 } { return 'the name cannot be resolved: it is wrong, or this VM has no DNS server that answers' }
    }
}

# --- run ---

$Began, $Ending = [DateTime]::UtcNow, @{ Code = 3 }
$Gathered = @{ Part = ''; Done = @(); Proxies = @(); Proofs = @(); Routes = @(); Adapters = @(); Source = '' }
$Constrained = "$($ExecutionContext.SessionState.LanguageMode)" -ne 'FullLanguage'
if (-not $Constrained) {
    $Records, $LocalAddresses = [Collections.Generic.List[object]]::new(), [Collections.Generic.List[string]]::new()
    $Machine, $Users = [Microsoft.Win32.Registry]::LocalMachine, [Microsoft.Win32.Registry]::Users
    $Latin = [Text.Encoding]::GetEncoding(28591)
}
$Invariant = [Globalization.CultureInfo]::InvariantCulture
$IsFramework = $PSVersionTable.PSVersion.Major -lt 6 # .NET Framework, which Windows PowerShell runs on
$Words = @([regex]::Matches($Arguments, '(?:"[^"]*"|''[^'']*''|\S)+') | ForEach-Object {
        $_.Value -replace '"([^"]*)"|''([^'']*)''', '$1$2' })
if ("$Words " -match '--deadline[ =]([1-5]?\d{1,2}(?:\.\d+)?|600) ') { $Deadline = [double]$Matches[1] }
$Redact = $Words -contains '--redact'
$HostName = '-'
try {
    $name = if ($Constrained) { $env:COMPUTERNAME } else { [Net.Dns]::GetHostName() }
    if (-not $Redact) { $HostName = $name -replace '[^A-Za-z0-9._-]', '_' }
    Start-Check $args
}
catch {
    $message = "This script itself failed at line $($_.InvocationInfo.ScriptLineNumber): $($_.Exception.Message)"
    Write-Report inconclusive 3 $message -cause tool-failed
}
if ($ExitCode -eq 'verdict') { exit $Ending.Code }
exit 0
# Here it ends.
