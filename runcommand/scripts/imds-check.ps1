# imds-check @VERSION@: finds the one cause why this Azure VM cannot use the Instance Metadata Service, and how to mend it.
#
# For Azure Run Command (RunPowerShellScript): paste it whole, or az vm run-command invoke --scripts @imds-check.ps1
# By hand, in an elevated prompt: powershell -ExecutionPolicy Bypass -File imds-check.ps1
#
# It runs imds-check.exe, and only the one whose SHA-256 stands below: from ExePath, from where an earlier run kept it
# (%ProgramFiles%\imds-check, where only SYSTEM and administrators write), or downloaded from ExeUri. Where it cannot be had,
# this script says why, and looks at what PowerShell alone can see. It leaves nothing else but the
# exe's report folder under %ProgramData%\imds-check. It needs Windows PowerShell 5.1 or later, and no module.
#
# Parameters, all of them text, none of them needed:
#   ExpectedMac, ExpectedIp  what Azure says of the primary NIC
#   ExeUri                   where to download the exe: https://... or that in base64 (Run Command breaks a value at "&")
#   ExePath                  where the exe lies on this VM, with "/" (Run Command may take "\n" for a line break)
#   Arguments                more options of imds-check: "--format=full --deadline=30", "--no-files", "--redact";
#                            what holds blanks stands in "..." or '...'
#   ExitCode                 "verdict": end with the exit code of the verdict. Else with 0, because Run Command loses the
#                            output of a script that fails; the report's last line has the code in any case.

# Without attributes and default values, so that a script pasted twice can be read: its second half is never reached.
param([string]$ExpectedMac, [string]$ExpectedIp, [string]$ExeUri, [string]$ExePath, [string]$Arguments, [string]$ExitCode)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$Version = '@VERSION@'
$ExeSha256 = '@SHA256@'
$ExeSize = [long]'@SIZE@' # bytes
$DefaultUri = '@EXE_URI@'
$Imds, $WireServer = '169.254.169.254', '168.63.129.16'
$ApiVersion = '2021-02-01'
$InstancePath = "/metadata/instance?api-version=$ApiVersion"
$InstanceKeys = 'vmId', 'azEnvironment', 'location', 'name', 'offer', 'sku', 'publisher', 'version', 'licenseType', 'osType', 'vmSize', 'zone',
    'subscriptionId', 'resourceGroupName', 'resourceId', 'isHostCompatibilityLayerVm', 'macAddress', 'privateIpAddress', 'address', 'prefix'
$AnswerLimit, $RecordLimit, $RuleLimit = 1MB, 65536, 300
$Records, $LocalAddresses, $Seen = [Collections.Generic.List[object]]::new(), [Collections.Generic.List[string]]::new(), @{}
$MetadataUrl = "http://$Imds/metadata/instance?api-version=2021-02-01"
$ConnectSeconds, $AnswerSeconds = 3, 5
$HeadSeconds, $DownloadSeconds = 20, 60 # until an answer begins; for all tries
$Deadline, $Grace = 20, 30 # seconds: imds-check's own, and what starting it may cost where an antivirus looks at it first
$ReportLimit = 3900 # bytes, every line end counted as two
$TrustedInstaller = 'S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464'

# --- the flow ------------------------------------------------------------------------------------------------------------

function Start-Check([string[]]$unknown) {
    if ($unknown) {
        $known = 'ExpectedMac, ExpectedIp, ExeUri, ExePath, Arguments and ExitCode'
        $names = @($unknown | Where-Object { $_ -match '^-\w' } | ForEach-Object { $_ -replace ':.*' }) # values may be secret
        return Write-Report inconclusive 2 "Wrong parameters: $(if ($names) { "$names" } else { 'a value without a name' }). There are $known."
    }
    if ($Constrained) {
        $why = 'a policy keeps PowerShell to ConstrainedLanguage mode, in which it may neither verify nor start it'
        $advice = "Copy imds-check.exe here, let the policy allow the SHA-256 $ExeSha256, and run it by itself."
        return Write-ShortReport $why $advice
    }
    $advice = 'Run this again, with an address of imds-check.exe that this VM reaches as ExeUri; or copy it here, and name its ' +
    'place as ExePath.'
    try { $exe = Get-Exe } catch { return Write-ShortReport (Get-Reason $_.Exception) $advice }
    $advice = 'Run this again. If it ends the same way, run imds-check.exe by itself, in an elevated prompt on the VM.'
    try { $ran = Invoke-Program $exe.Name (Get-CommandLine) ($Deadline + $Grace) }
    catch { return Write-ShortReport "it could not be started: $(Get-Reason $_.Exception)" $advice }
    finally { $exe.Dispose() }
    if ($ran.Err) { [Console]::Error.Write($ran.Err) }
    $message = Get-Plain $ran.Err.Trim() 300
    if ($null -eq $ran.Code) { return Write-ShortReport "it had not ended after $($Deadline + $Grace) s, and was killed" $advice }
    if ($ran.Code -eq 2 -and -not $ran.Out) { return Write-Report inconclusive 2 "Wrong parameters$(Get-Detail ": $message")" }
    if ($ran.Code -notin 0, 1, 3 -or -not $ran.Out) {
        return Write-ShortReport "it ended with exit code $($ran.Code) and without a report$(if ($message) { ": $message" })" $advice
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

# --- the exe -------------------------------------------------------------------------------------------------------------

# Gives imds-check.exe, verified, as an open file that nobody can change or replace; throws why it cannot be had.
function Get-Exe {
    $folder = New-Folder
    $kept = "$folder\imds-check-$($ExeSha256.Substring(0, 16)).exe"
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
    $sha256 = [Security.Cryptography.SHA256CryptoServiceProvider]::new() # SHA256Managed is refused where FIPS is required
    $found = [BitConverter]::ToString($sha256.ComputeHash($content)).Replace('-', '').ToLowerInvariant()
    if ($found -ne $ExeSha256) { throw "its SHA-256 is $found, and that of imds-check.exe $Version is ${ExeSha256}: it was not run" }
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

# The folder where the exe is kept; throws where somebody else may write there.
# Under %ProgramFiles%, because others cannot plant a folder there, and because policies usually let run what lies there.
function New-Folder {
    $programs = [Environment]::GetFolderPath('ProgramFiles')
    Confirm-Folder $programs 'look who may write there, and take that right away'
    $folder, $access = "$programs\imds-check", [Security.AccessControl.DirectorySecurity]::new()
    # Administrators own it, they and SYSTEM have all rights, nobody else has any, and nothing is inherited.
    $access.SetSecurityDescriptorSddlForm('O:BAG:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
    try {
        if ([IO.Directory]::Exists($folder)) { }
        elseif ($IsFramework) { [void][IO.Directory]::CreateDirectory($folder, $access) }
        else { [void][IO.FileSystemAclExtensions]::CreateDirectory($access, $folder) }
    }
    catch { throw "$folder cannot be made: $(Get-Reason $_.Exception)" }
    Confirm-Folder $folder 'look at it, and remove it'
    return $folder
}

function Confirm-Folder([string]$path, [string]$advice) {
    $folder, $kind = [IO.DirectoryInfo]::new($path), [Security.Principal.SecurityIdentifier]
    $access = if ($IsFramework) { $folder.GetAccessControl() } else { [IO.FileSystemAclExtensions]::GetAccessControl($folder) }
    $own = [Security.Principal.WindowsIdentity]::GetCurrent().User.Value
    $trusted = 'S-1-5-18', 'S-1-5-32-544', $TrustedInstaller, $own # SYSTEM, Administrators
    $owner = $access.GetOwner($kind).Value
    # FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_DELETE_CHILD, FILE_WRITE_ATTRIBUTES, DELETE, WRITE_DAC, WRITE_OWNER,
    # GENERIC_ALL, GENERIC_WRITE
    $writers = @($access.GetAccessRules($true, $true, $kind) | Where-Object {
            "$($_.AccessControlType)" -eq 'Allow' -and "$($_.PropagationFlags)" -notmatch 'InheritOnly' -and
            [int]$_.FileSystemRights -band 0x500D0146 -and $trusted -notcontains $_.IdentityReference.Value })
    $wrong = if ("$($folder.Attributes)" -match 'ReparsePoint') { 'is a link that leads elsewhere' }
    elseif ($trusted -notcontains $owner) { "belongs to another user$(Get-Detail " ($owner)")" }
    elseif ($writers) { "can be written by another user$(Get-Detail " ($($writers[0].IdentityReference))")" }
    if ($wrong) { throw "the folder $path $wrong, so nothing in it is run: $advice" }
}

# --- the network ---------------------------------------------------------------------------------------------------------

# ExeUri, plain or in base64. http:// will do as well: the checksum decides what is run.
function Get-Uri {
    $text = $ExeUri.Trim()
    if (-not $text) { $text = $DefaultUri }
    elseif ($text -notmatch '^https?://') {
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

# One GET; gives the answer, whatever its status, as soon as its head has come. -Direct: as IMDS wants to be asked.
function Open-Url([Uri]$uri, [double]$seconds, [switch]$Direct) {
    if ($IsFramework) { # which does not ask for TLS 1.2 by itself
        [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    }
    $request = [Net.WebRequest]::Create($uri)
    $request.UserAgent = "imds-check/$Version"
    if ($Direct) {
        $request.Proxy, $request.AllowAutoRedirect = $null, $false
        $request.Headers.Add('Metadata', 'true')
    }
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

# The whole body of an answer, of at most so many bytes, in memory.
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

# --- programs ------------------------------------------------------------------------------------------------------------

# Runs a program for at most so many seconds. Gives its output; its exit code is $null where it had to be killed.
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
        $out, $err = $out, $err | ForEach-Object { [Text.Encoding]::ASCII.GetString($_.ToArray()) }
        return @{ Code = $code; Out = $out; Err = $err }
    }
    finally { $process.Dispose() }
}

# Kills a program with its children.
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

# --- the report without the exe ------------------------------------------------------------------------------------------

# Says why the exe did not run, and what PowerShell sees without it.
function Write-ShortReport([string]$why, [string]$advice) {
    $seen = @('CHECKS')
    if ($Constrained) {
        try { $metadata = Test-MetadataByCurl } catch { $metadata = @{ Status = 'error'; Text = Get-Reason $_.Exception } }
        $seen += Get-CheckLine imds.metadata $metadata
    }
    else {
        $tcp, $port80, $port32526 = Test-Port ($Imds, 80), ($WireServer, 80), ($WireServer, 32526)
        $metadata = if ($tcp.Status -eq 'ok') { Test-Metadata } else { @{ Status = 'skip'; Text = 'no answer' } }
        $both = @{ Status = 'ok'; Text = "port 80 $($port80.Text); port 32526 $($port32526.Text)" }
        if ($port80.Status -ne 'ok' -or $port32526.Status -ne 'ok') { $both.Status = 'fail' }
        $seen += (Get-CheckLine imds.reachable $tcp), (Get-CheckLine imds.metadata $metadata)
        $seen += Get-CheckLine wireserver.reachable $both
        if (-not $Redact) { $seen += Get-CheckLine proxy.bypass (Test-Proxy) }
    }
    if (-not $Redact) {
        $seen += 'EVIDENCE'
        try { $seen += Get-RouteRow } catch { $seen += "  The routes could not be read: $(Get-Reason $_.Exception)" }
        try { $seen += Get-SourceLine } catch { $seen += "  Nothing can be sent to ${Imds}: $(Get-Reason $_.Exception)" }
        try { $seen += Get-AdapterLine } catch { $seen += "  The adapters could not be read: $(Get-Reason $_.Exception)" }
    }
    $verdict, $code, $found = 'broken', 1, 'IMDS does not give this VM its metadata; why was not looked at.'
    if ($metadata.Status -in 'ok', 'error') { $verdict, $code = 'inconclusive', 3 }
    if ($metadata.Status -eq 'ok') { $found = 'IMDS answers; what else may be wrong was not looked at.' }
    if ($metadata.Status -eq 'error') { $found = 'Whether IMDS answers could not be found out.' }
    $fix = @($advice)
    if ($code -eq 1) {
        $fix += "Compare: what goes to $Imds must leave by the primary NIC, from its primary address (portal: Properties)."
        $fix += "Look for a proxy or a firewall that takes what goes to $Imds."
    }
    $fix += 'https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection'
    Write-Report $verdict $code $found, "This is the short report, without imds-check.exe: $($why.Trim(' .'))." $fix $seen
}

# Prints a report as imds-check does. $seen is cut where there is no room for all of it.
function Write-Report([string]$verdict, [int]$code, [string[]]$said, [string[]]$fix, [string[]]$seen, [string]$cause = '-') {
    $Ending.Code = $code
    $at = "$($Began.ToString('s'))Z"
    $seconds = ([DateTime]::UtcNow - $Began).TotalSeconds.ToString('0.0', [Globalization.CultureInfo]::InvariantCulture)
    $lines = @("IMDS-CHECK $Version  $HostName  $at  $seconds s", "VERDICT  $($verdict.ToUpperInvariant())")
    foreach ($text in $said) { $lines += Get-Wrapped $text '  ' }
    if ($fix) { $lines += 'FIX' }
    foreach ($text in $fix) { $lines += if ($text -like 'http*') { "  $text" } else { Get-Wrapped $text '  - ' } }
    $end = "END IMDS-CHECK verdict=$verdict cause=$cause exit=$code host=$HostName at=$at v=$Version"
    $left = $ReportLimit - 20 # for the line that says how many are left out
    foreach ($line in $lines + $end) { $left -= $line.Length + 2 }
    for ($shown = 0; $seen -and $shown -lt $seen.Count; $shown++) {
        $line = Get-Plain $seen[$shown] 240
        $left -= $line.Length + 2
        if ($left -lt 0) { $lines += "  (+$($seen.Count - $shown) more)"; break }
        $lines += $line
    }
    $lines
    $end
}

# A text in lines, indented below its first.
function Get-Wrapped([string]$text, [string]$indent) {
    foreach ($part in [regex]::Matches((Get-Plain $text 900), '.{1,112}(?:\s+|$)|\S{1,112}')) {
        $indent + $part.Value.TrimEnd()
        $indent = ' ' * $indent.Length
    }
}

# One line of printable ASCII.
function Get-Plain([string]$text, [int]$limit) {
    $plain = ''
    foreach ($character in $text.ToCharArray()) {
        $number = [int]$character
        if ($number -ge 32 -and $number -le 126) { $plain += $character }
        elseif ($number -in 9, 10, 13) { $plain += ' ' }
        else { $plain += '\u{0:X4}' -f $number }
        if ($plain.Length -gt $limit) { return $plain.Substring(0, $limit - 3) + '...' }
    }
    return $plain
}

function Get-CheckLine([string]$id, $check) { '  {0,-5} {1,-20} {2}' -f $check.Status, $id, $check.Text }

# A text that a redacted report does not have.
function Get-Detail([string]$text) { if (-not $Redact) { $text } }

# --- what PowerShell sees ------------------------------------------------------------------------------------------------

# A TCP connect to each place (address and port), side by side.
function Test-Port([object[]]$places) {
    $clients = @($places | ForEach-Object { [Net.Sockets.TcpClient]::new([Net.Sockets.AddressFamily]::InterNetwork) })
    try {
        $tasks = @(for ($at = 0; $at -lt $places.Count; $at++) {
                $clients[$at].ConnectAsync([Net.IPAddress]$places[$at][0], $places[$at][1]) })
        try { [void][Threading.Tasks.Task]::WaitAll([Threading.Tasks.Task[]]$tasks, 1000 * $ConnectSeconds) } catch { } # told below
        for ($at = 0; $at -lt $places.Count; $at++) {
            if ($tasks[$at].IsFaulted) { @{ Status = 'fail'; Text = Get-Reason $tasks[$at].Exception } }
            elseif (-not $tasks[$at].IsCompleted) { @{ Status = 'fail'; Text = "timed out after $ConnectSeconds s" } }
            else { @{ Status = 'ok'; Text = "connected$(Get-Detail " from $($clients[$at].Client.LocalEndPoint.Address)")" } }
        }
    }
    finally { foreach ($client in $clients) { $client.Close() } }
}

# Asks IMDS as it wants to be asked. 410, 429 and 5xx may pass: they have three tries.
function Test-Metadata {
    try {
        foreach ($pause in 1, 2, 0) {
            $answer = Open-Url $MetadataUrl $AnswerSeconds -Direct
            try {
                $status, $type = [int]$answer.StatusCode, $answer.ContentType
                $body = Read-Body $answer 1MB ([DateTime]::UtcNow.AddSeconds($AnswerSeconds))
            }
            finally { $answer.Close() }
            if ($status -notin 410, 429 -and $status -lt 500) { break }
            [Threading.Thread]::Sleep(1000 * $pause)
        }
        $text = [Text.Encoding]::UTF8.GetString($body.ToArray())
        $vmId = Get-VmId $text
        if ($status -eq 200 -and $vmId) { return @{ Status = 'ok'; Text = "HTTP 200$(Get-Detail ", vmId $vmId")" } }
        return @{ Status = 'fail'; Text = "HTTP $status, $($body.Length) bytes of ${type}: not the metadata of a VM" }
    }
    catch { return @{ Status = 'fail'; Text = Get-Reason $_.Exception } }
}

# The same where PowerShell may not: curl.exe comes with Windows since Windows 10 1803 and Server 2019.
function Test-MetadataByCurl {
    $curl = "$env:SystemRoot\System32\curl.exe"
    if (-not (Get-Command $curl -ErrorAction Ignore)) {
        return @{ Status = 'error'; Text = 'PowerShell may not ask, and there is no curl.exe' }
    }
    $options = '-q', '--noproxy', '*', '--silent', '--max-time', $AnswerSeconds, '--max-filesize', 1048576
    $text = (& $curl $options --header 'Metadata: true' $MetadataUrl) -join "`n"
    $vmId = Get-VmId $text
    if ($vmId) { return @{ Status = 'ok'; Text = "by curl.exe$(Get-Detail ", vmId $vmId")" } }
    return @{ Status = 'fail'; Text = "exit code $LASTEXITCODE of curl.exe, $($text.Length) characters: not the metadata of a VM" }
}

# The compute.vmId of a text that is whole JSON: strings and numbers become v, and so does then what holds only these.
function Get-VmId([string]$text) {
    $rest = $text -replace '\G([^"]*)"(?:[^"\\\x00-\x1F]|\\.)*"', '$1s' -replace '\s+'
    $rest = $rest -replace '-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null', 'v'
    for ($depth = 0; $depth -lt 20; $depth++) {
        $rest = $rest -replace '\{(?:s:[sv](?:,s:[sv])*)?\}|\[(?:[sv](?:,[sv])*)?\]', 'v'
    }
    if ($rest -eq 'v' -and $text -match '"compute"\s*:\s*\{' -and $text -match '"vmId"\s*:\s*"([0-9A-Fa-f-]{36})"') { $Matches[1] }
}

# The address that packets to IMDS would be sent from. (To connect a UDP socket sends nothing.)
function Get-SourceLine {
    if ($Constrained) { return }
    $socket = [Net.Sockets.Socket]::new('InterNetwork', 'Dgram', 'Udp')
    try {
        $socket.Connect([Net.IPAddress]$Imds, 80)
        "  What goes to $Imds is sent from $($socket.LocalEndPoint.Address)"
    }
    finally { $socket.Close() }
}

# The rows of the route table that lead to the platform's addresses, > at those that win.
function Get-RouteRow {
    $program, $ip = "$env:SystemRoot\System32\route.exe", '(\d+\.\d+\.\d+\.\d+)'
    $columns = '{0,-20}{1,-17}{2,-17}{3,-17}{4,6}'
    $printed = if ($Constrained) { (& $program print -4) -join "`n" } else { (Invoke-Program $program 'print -4' 5).Out }
    $rows = @(foreach ($match in [regex]::Matches($printed, "(?m)^ *$ip +$ip +(\S.*?) +$ip +(\d+) *\r?$")) {
            $destination, $mask, $gateway, $interface, $metric = 1..5 | ForEach-Object { $match.Groups[$_].Value }
            $leads = @($Imds, $WireServer | Where-Object { ((Get-Number $_) -band (Get-Number $mask)) -eq (Get-Number $destination) })
            if ($gateway -notmatch "^$ip$") { $gateway = 'On-link' } # in the words of Windows' language
            $text = $columns -f $destination, $mask, $gateway, $interface, $metric
            if ($leads) { @{ Leads = $leads; Mask = Get-Number $mask; Metric = [long]$metric; Text = $text; Mark = ' ' } }
        })
    foreach ($address in $Imds, $WireServer) {
        $best = $null
        foreach ($row in $rows | Where-Object { $_.Leads -contains $address }) {
            $wins = -not $best -or $row.Mask -gt $best.Mask -or ($row.Mask -eq $best.Mask -and $row.Metric -lt $best.Metric)
            if ($wins) { $best = $row }
        }
        if ($best) { $best.Mark = '>' }
    }
    "  $columns" -f 'Network Destination', 'Netmask', 'Gateway', 'Interface', 'Metric'
    if ($rows) { foreach ($row in $rows) { "$($row.Mark) $($row.Text)" } } else { "  none leads to $Imds or $WireServer" }
}

# An IPv4 address as a number.
function Get-Number([string]$address) {
    $number = [long]0
    foreach ($part in $address.Split('.')) { $number = 256 * $number + [int]$part }
    return $number
}

# The adapters, those with a gateway or a DHCP server first.
function Get-AdapterLine {
    $first, $rest = @(), @()
    foreach ($nic in [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()) {
        if ("$($nic.NetworkInterfaceType)" -in 'Loopback', 'Tunnel') { continue }
        $ip = $nic.GetIPProperties()
        $index = try { $ip.GetIPv4Properties().Index } catch { '-' }
        $mac = "$($nic.GetPhysicalAddress())" -replace '(..)(?!$)', '$1-'
        $held, $leased = @(), @()
        foreach ($item in $ip.UnicastAddresses) {
            if ("$($item.Address)" -notmatch ':') { $held += "$($item.Address)/$($item.PrefixLength)" }
        }
        foreach ($server in $ip.DhcpServerAddresses) { $leased += "dhcp $server" }
        foreach ($item in $ip.GatewayAddresses) {
            if ($leased -notcontains "gateway $($item.Address)") { $leased += "gateway $($item.Address)" }
        }
        $addresses = if ($held) { $held -join ', ' } else { 'no address' }
        $line = @("  $index `"$($nic.Name)`"", $mac, "$($nic.OperationalStatus)".ToLowerInvariant(), $addresses) + $leased -join '  '
        if ($leased) { $first += $line } else { $rest += $line }
    }
    $first + $rest
}

# WinHTTP's proxy and those of the environment.
function Test-Proxy {
    try {
        $settings = @()
        $connections = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings\Connections'
        $blob = [Microsoft.Win32.Registry]::GetValue($connections, 'WinHttpSettings', $null)
        if ($blob -is [byte[]] -and $blob.Length -ge 20 -and $blob[8] -band 2) { # flags, then two texts with their lengths
            $ascii, $length = [Text.Encoding]::ASCII, [BitConverter]::ToInt32($blob, 12)
            $bypass = $ascii.GetString($blob, 20 + $length, [BitConverter]::ToInt32($blob, 16 + $length))
            $settings += @{ Place = 'WinHTTP'; Servers = $ascii.GetString($blob, 16, $length); Bypass = $bypass }
        }
        foreach ($name in 'http_proxy', 'all_proxy') {
            foreach ($target in 'Machine', 'Process') {
                $value, $bypass = $name, 'no_proxy' | ForEach-Object { "$([Environment]::GetEnvironmentVariable($_, $target))" }
                if (-not $value -or @($settings | Where-Object { $_.Servers -eq $value })) { continue }
                $settings += @{ Place = "$name ($($target.ToLowerInvariant()))"; Servers = $value; Bypass = $bypass }
            }
        }
        $status = 'ok'
        $texts = foreach ($setting in $settings) {
            $bypassed = @($setting.Bypass -split '[;,\s]+' | Where-Object { $_ -and $_ -notmatch '@' })
            if (-not @($bypassed | Where-Object { $Imds -like ($_ -replace '[\[\]]', '?') })) { $status = 'warn' }
            "$($setting.Place): $(Get-Server $setting.Servers), bypassed: $(if ($bypassed) { $bypassed -join ',' } else { 'nothing' })"
        }
        if (-not $texts) { $texts = 'no proxy is set for WinHTTP or in the environment' }
        return @{ Status = $status; Text = $texts -join '; ' }
    }
    catch { return @{ Status = 'error'; Text = Get-Reason $_.Exception } }
}

# A list of proxies without their credentials; what may be a piece of a password is not shown.
function Get-Server([string]$list) {
    @(foreach ($entry in $list -split '[;\s]+' | Where-Object { $_ }) {
            $whole = $entry -match '^((?:\w+=)?(?:\w+://)?)(?:.*@)?([\w.-]+(?::\d+)?)/?$'
            if (-not $whole -or ($list -match '@' -and $entry -notmatch '@')) { '(not shown)' }
            else { $entry -replace '^((?:\w+=)?(?:\w+://)?).*@', '$1' -replace '/$' }
        }) -join ';'
}

# --- the raw material ----------------------------------------------------------------------------------------------------
#
# What is collected here is neither read nor judged here: it goes into a block at the end of the report, and imds-check decode
# judges it, by the rules that the exe judges by. A record is a line of fields; RANK says how much it matters where room is short.

# Adds a record. Its fields stand between tabs, in which four characters are escaped.
function Add-Record([int]$rank, [object[]]$fields) {
    $texts = foreach ($field in $fields) {
        "$field".Replace('\', '\\').Replace("`t", '\t').Replace("`n", '\n').Replace("`r", '\r')
    }
    $line = $texts -join "`t"
    if ($line.Length -gt $RecordLimit) { $line = "cut`t$($fields[0])`t$($line.Length)" }
    $Records.Add(@{ Rank = $rank; Number = $Records.Count; Line = $line })
}

# Runs a part of the collecting; where it fails, that is a record.
function Invoke-Part([string]$name, [scriptblock]$part) {
    if ([DateTime]::UtcNow -gt $CollectUntil) { return Add-Record 1 'missing', $name, 'not begun when the time was up' }
    try { [void](& $part) } catch { Add-Record 1 'missing', $name, "$($_.Exception.Message) at line $($_.InvocationInfo.ScriptLineNumber)" }
}

# Collects everything, what waits for the network first.
function Get-Material {
    Invoke-Part 'adapters' { Add-Adapter }
    Invoke-Part 'imds' { Add-Try }
    Invoke-Part 'routes' { Add-RouteRow }
    Invoke-Part 'lookups' { Add-Source }
    Invoke-Part 'neighbours' { Add-Neighbour }
    Invoke-Part 'proxies' { Add-ProxySetting }
    Invoke-Part 'firewall' { Add-Firewall }
    Invoke-Part 'machine' { Add-Machine }
    Invoke-Part 'services' { Add-Service }
    Invoke-Part 'listeners' { Add-TcpRow }
}

# --- the network's part

# Connects side by side. Each place is @{ Key; Address; Port; Source }; each gets Code (a number of Winsock, 0: connected,
# -1: no answer in time), Seconds, Local and, where it is connected, Client.
function Connect-Place([object[]]$places) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    foreach ($place in $places) {
        $place.Code, $place.Local, $place.Client, $place.Seconds = -1, '', $null, [double]$ConnectSeconds
        try {
            $client = [Net.Sockets.TcpClient]::new([Net.Sockets.AddressFamily]::InterNetwork)
            if ($place.Source) { $client.Client.Bind([Net.IPEndPoint]::new([Net.IPAddress]$place.Source, 0)) }
            $place.Client = $client
            $place.Task = $client.ConnectAsync([Net.IPAddress]$place.Address, $place.Port)
        }
        catch { $place.Code, $place.Task = (Get-SocketError $_.Exception), $null }
    }
    while ($clock.Elapsed.TotalSeconds -lt $ConnectSeconds) {
        $waiting = $false
        foreach ($place in $places) {
            if ($place.Code -ne -1 -or -not $place.Task) { continue }
            if (-not $place.Task.IsCompleted) { $waiting = $true; continue }
            $place.Seconds = $clock.Elapsed.TotalSeconds
            $place.Code = if ($place.Task.IsFaulted) { Get-SocketError $place.Task.Exception } else { 0 }
        }
        if (-not $waiting) { break }
        [Threading.Thread]::Sleep(5)
    }
    foreach ($place in $places) {
        if ($place.Client) { try { $place.Local = "$($place.Client.Client.LocalEndPoint.Address)" } catch { } }
        if ($place.Local -eq '0.0.0.0') { $place.Local = '' }
        if ($place.Code -ne 0 -and $place.Client) { $place.Client.Close() }
    }
}

# The number of Winsock in an exception; -2 where it has none.
function Get-SocketError($exception) {
    for ($inner = $exception; $inner; $inner = $inner.InnerException) {
        if ($inner -is [Net.Sockets.SocketException]) { return [int]$inner.SocketErrorCode }
    }
    return -2
}

# Sends one GET over an open connection. Gives the answer's bytes as text (Latin-1), and how it ended.
function Receive-Answer($place, [string]$target, [string]$name, [double]$seconds, [string]$headers) {
    $latin, $clock, $ended = [Text.Encoding]::GetEncoding(28591), [Diagnostics.Stopwatch]::StartNew(), 'closed'
    $content, $buffer = [IO.MemoryStream]::new(), [byte[]]::new(65536)
    try {
        $stream = $place.Client.GetStream()
        $stream.WriteTimeout = [int](1000 * $seconds)
        $request = $latin.GetBytes("GET $target HTTP/1.1`r`nHost: $name`r`n${headers}User-Agent: imds-check`r`nConnection: close`r`n`r`n")
        $stream.Write($request, 0, $request.Length)
        while ($true) {
            $left = [int](1000 * ($seconds - $clock.Elapsed.TotalSeconds))
            if ($left -le 0) { $ended = 'timeout'; break }
            $read = $stream.ReadAsync($buffer, 0, $buffer.Length)
            if (-not $read.Wait($left)) { $ended = 'timeout'; break }
            if (-not $read.Result) { break }
            $content.Write($buffer, 0, $read.Result)
            if ($content.Length -gt $AnswerLimit) { $ended = 'endless'; break }
            if (Test-Whole $latin.GetString($content.GetBuffer(), 0, [int]$content.Length)) { break }
        }
    }
    catch { $ended = "$(Get-SocketError $_.Exception)" }
    finally { $place.Client.Close() }
    return @{ Text = $latin.GetString($content.ToArray()); Ended = $ended; Seconds = $clock.Elapsed.TotalSeconds
        At = "$([DateTime]::UtcNow.ToString('s'))Z" }
}

# Whether an answer has come to the end that its head announces.
function Test-Whole([string]$text) {
    $at = $text.IndexOf("`r`n`r`n")
    if ($at -lt 0) { return $false }
    $head = $text.Substring(0, $at)
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') { return $text.EndsWith("`r`n0`r`n`r`n") }
    return $head -match '(?im)^Content-Length:\s*(\d{1,9})\s*$' -and $text.Length - $at - 4 -ge [int]$Matches[1]
}

# Adds a try: how the connect ended and, where something came back, what. Of a JSON body only the values of $keys are kept.
function Add-TryRecord([int]$rank, $place, [string]$target, $answer, [string[]]$keys) {
    $connect = $place.Key, $place.Address, $place.Port, $place.Source, $place.Local, $place.Code, (Get-Rounded $place.Seconds)
    if (-not $answer) { return Add-Record $rank (@('try') + $connect) }
    $head, $body = $answer.Text, ''
    $at = $head.IndexOf("`r`n`r`n")
    if ($at -ge 0) { $head, $body = $head.Substring(0, $at), $head.Substring($at + 4) }
    $kept = Get-KeptBody $head $body $keys
    Add-Record $rank (@('try') + $connect + @($target, $answer.Ended, (Get-Rounded $answer.Seconds), $answer.At,
            (Get-KeptHead $head), $body.Length, $kept))
}

function Get-Rounded([double]$seconds) { $seconds.ToString('0.0000', [Globalization.CultureInfo]::InvariantCulture) }

# The status line and the headers that are looked at.
function Get-KeptHead([string]$head) {
    $lines = @($head.Substring(0, [Math]::Min(65536, $head.Length)) -split "`r`n")
    $kept = @($lines | Where-Object { $_ -match '^(Server|Via|X-Squid-Error|Proxy-Agent|Content-Type|Content-Length|Transfer-Encoding|Location|Date):' })
    $texts = foreach ($line in @($lines[0]) + $kept) { if ($line.Length -gt 300) { $line.Substring(0, 300) } else { $line } }
    ($texts | ForEach-Object { Get-WithoutSecret $_ }) -join "`r`n"
}

# A header without what a query or a password says.
function Get-WithoutSecret([string]$line) { $line -replace '\?.*', '?...' -replace '//[^/@\s]*@', '//' }

# A body as it may leave this VM: of JSON the values of some keys, of a page its title, of anything else its beginning.
function Get-KeptBody([string]$head, [string]$body, [string[]]$keys) {
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') { $body = Get-Unchunked $body }
    $start = $body.TrimStart()
    if ($start.StartsWith('<')) {
        $title = [regex]::Match($body.Substring(0, [Math]::Min(20000, $body.Length)), '(?i)<title[^>]{0,100}>[^<]{1,200}').Value
        if ($start -match '^<\?xml|^<Versions') { return $body.Substring(0, [Math]::Min(4096, $body.Length)) }
        return "<html>$title"
    }
    if ($start -notmatch '^[{\[]') { return '' }
    $wanted = ($keys | ForEach-Object { [regex]::Escape($_) }) -join '|'
    $text = '"(?:[^"\\]|\\.)*"'
    $bare = [regex]::Replace($body, "($text)\s*:\s*(?:$text|[^\s,{}\[\]`"]+)\s*(,?)", {
            param($match)
            $key = $match.Groups[1].Value.Trim('"')
            if ($key -match "^(?:$wanted)`$") { $match.Value } else { '' }
        })
    return ($bare -replace '\s+(?=(?:[^"]*"[^"]*")*[^"]*$)' -replace ',(?=[}\]])')
}

# The content of a chunked body (RFC 9112, 7.1).
function Get-Unchunked([string]$body) {
    $whole, $at = [Text.StringBuilder]::new(), 0
    while ($at -lt $body.Length) {
        $line = $body.IndexOf("`r`n", $at)
        if ($line -lt 0 -or $body.Substring($at, $line - $at) -notmatch '^\s*([0-9A-Fa-f]{1,7})') { break }
        $length = [Convert]::ToInt32($Matches[1], 16)
        if (-not $length) { break }
        [void]$whole.Append($body.Substring($line + 2, [Math]::Min($length, $body.Length - $line - 2)))
        $at = $line + 2 + $length + 2
    }
    return "$whole"
}

# All tries: the plain ones, then from each local address where the plain one is not answered, then through the proxies.
function Add-Try {
    $plain = @{ Key = 'imds'; Address = $Imds; Port = 80; Source = '' }
    $wire = @{ Key = 'wire'; Address = $WireServer; Port = 80; Source = '' }
    $plugin = @{ Key = 'plugin'; Address = $WireServer; Port = 32526; Source = '' }
    $others = @($LocalAddresses.ToArray() | ForEach-Object { @{ Key = 'trial'; Address = $Imds; Port = 80; Source = $_ } })
    Connect-Place @($plain, $wire, $plugin)
    if ($wire.Code -eq 0) {
        Add-TryRecord 1 $wire '/?comp=versions' (Receive-Answer $wire '/?comp=versions' $WireServer $AnswerSeconds) @()
    }
    else { Add-TryRecord 1 $wire }
    Add-TryRecord 1 $plugin
    if ($plugin.Code -eq 0) { $plugin.Client.Close() }
    $Seen.Plain, $Seen.Wire, $Seen.Plugin = $plain, $wire, $plugin
    $is_imds = $false
    foreach ($pause in 1, 2, 0) {
        if ($plain.Code -ne 0) { Add-TryRecord 1 $plain; break }
        $answer = Receive-Answer $plain $InstancePath $Imds $AnswerSeconds "Metadata: true`r`n"
        Add-TryRecord 1 $plain $InstancePath $answer @('vmId', 'azEnvironment', 'error', 'message', 'newest-versions')
        $Seen.Answer = $answer
        $status = if ($answer.Text -match '^HTTP/1\.[01] (\d{3})') { [int]$Matches[1] } else { 0 }
        $Seen.Status, $Seen.VmId = $status, (Get-VmId (Get-KeptBody $answer.Text ($answer.Text -replace '(?s)^.*?\r\n\r\n') 'vmId'))
        $is_imds = $status -eq 200 -and $answer.Text -match '"vmId"'
        if ($status -notin 410, 429 -and $status -lt 500) { break }
        if (-not $pause -or [DateTime]::UtcNow.AddSeconds($pause + 2) -gt $CollectUntil) { break }
        [Threading.Thread]::Sleep(1000 * $pause)
        Connect-Place @($plain)
    }
    if ($is_imds) { Add-Identity $answer; return }
    if ($others) {
        Connect-Place $others
        $left = 4
        foreach ($place in $others) {
            if ($place.Code -eq 0 -and $left -gt 0) {
                $left--
                $answer = Receive-Answer $place $InstancePath $Imds 2 "Metadata: true`r`n"
                Add-TryRecord 1 $place $InstancePath $answer @('vmId', 'error', 'message')
                if ($answer.Text -match '"vmId"') { $left = 0; $Seen.Proof = $place.Source; Add-Instance $answer }
            }
            else { if ($place.Code -eq 0) { $place.Client.Close() }; Add-TryRecord 1 $place }
        }
    }
}

# What IMDS says of the VM, then the attested document and whether there is an identity.
function Add-Identity($answer) {
    Add-Instance $answer
    $digits = [byte[]]::new(10)
    $random = [Security.Cryptography.RandomNumberGenerator]::Create()
    $random.GetBytes($digits)
    $nonce = ($digits | ForEach-Object { $_ % 10 }) -join ''
    $path = "/metadata/attested/document?api-version=$ApiVersion&nonce=$nonce"
    $place = @{ Key = 'attested'; Address = $Imds; Port = 80; Source = '' }
    Connect-Place @($place)
    if ($place.Code -ne 0) { Add-TryRecord 1 $place $path }
    else {
        $answer = Receive-Answer $place $path $Imds $AnswerSeconds "Metadata: true`r`n"
        Add-TryRecord 1 $place $path $answer @('encoding', 'error', 'message')
        if ($answer.Text -match '"signature"\s*:\s*"([A-Za-z0-9+/=\\]{1,60000})"') {
            $signature = $Matches[1].Replace('\', '')
            Add-Record 10 'document', $nonce, $signature
            Invoke-Part 'certificate_chains' { Add-Chain ([Convert]::FromBase64String($signature)) }
        }
    }
    $place = @{ Key = 'identity'; Address = $Imds; Port = 80; Source = '' }
    $path = "/metadata/identity/info?api-version=$ApiVersion"
    Connect-Place @($place)
    if ($place.Code -ne 0) { return Add-TryRecord 12 $place $path }
    Add-TryRecord 12 $place $path (Receive-Answer $place $path $Imds $AnswerSeconds "Metadata: true`r`n") @('tenantId', 'error')
}

function Add-Instance($answer) {
    $at = $answer.Text.IndexOf("`r`n`r`n")
    if ($at -lt 0) { return }
    Add-Record 9 'instance', (Get-KeptBody $answer.Text.Substring(0, $at) $answer.Text.Substring($at + 4) $InstanceKeys)
}

# The chain that Windows builds for the signer of the document, offline: status flags, thumbprints and the certificates.
function Add-Chain([byte[]]$signature) {
    $held = [Security.Cryptography.X509Certificates.X509Certificate2Collection]::new()
    $held.Import($signature)
    $leaf = $null
    foreach ($item in $held) { if ($item.Subject -match 'CN=\S*metadata\.') { $leaf = $item } }
    if (-not $leaf) { $leaf = $held[0] }
    $chain = [Security.Cryptography.X509Certificates.X509Chain]::new($true) # the machine's, as services have it
    $chain.ChainPolicy.RevocationMode = 'NoCheck'
    foreach ($item in $held) { [void]$chain.ChainPolicy.ExtraStore.Add($item) }
    [void]$chain.Build($leaf)
    $number = 0
    foreach ($element in $chain.ChainElements) {
        $flags = 0
        foreach ($status in $element.ChainElementStatus) { $flags = $flags -bor [int]$status.Status }
        Add-Record 11 'chain', $number, $flags, $element.Certificate.Thumbprint, ([Convert]::ToBase64String($element.Certificate.RawData))
        $number++
    }
    $all = 0
    foreach ($status in $chain.ChainStatus) { $all = $all -bor [int]$status.Status }
    Add-Record 11 'chain', '', $all
}

# --- the system's part

function Add-Adapter {
    foreach ($nic in [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()) {
        $ip = $nic.GetIPProperties()
        $index, $metric = '', ''
        try { $index = $ip.GetIPv4Properties().Index } catch { continue }
        $held = @(foreach ($item in $ip.UnicastAddresses) {
                if ("$($item.Address)" -notmatch ':') { "$($item.Address)/$($item.PrefixLength)/$([int]$item.SuffixOrigin)/$([int]$item.DuplicateAddressDetectionState)" } })
        $gateways = @(foreach ($item in $ip.GatewayAddresses) { "$($item.Address)" }) | Where-Object { $_ -notmatch ':' }
        $servers = @(foreach ($item in $ip.DhcpServerAddresses) { "$item" })
        $dhcp = try { [int]$ip.GetIPv4Properties().IsDhcpEnabled } catch { '' }
        $rank = if ($held -and "$($nic.NetworkInterfaceType)" -ne 'Loopback') { 3 } else { 12 }
        Add-Record $rank 'adapter', $index, $nic.Id, $nic.Name, $nic.Description, ([int]$nic.NetworkInterfaceType),
            "$($nic.GetPhysicalAddress())", ([int]$nic.OperationalStatus), ($held -join ' '), ($gateways -join ' '), ($servers -join ' '), $dhcp
        Add-Key $rank HKLM "SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\$($nic.Id)" `
            @('EnableDHCP', 'DhcpIPAddress', 'DhcpServer', 'DhcpDefaultGateway', 'InterfaceMetric')
        if ("$($nic.NetworkInterfaceType)" -ne 'Loopback' -and "$($nic.OperationalStatus)" -ne 'Down') {
            foreach ($item in $held) { $LocalAddresses.Add($item.Split('/')[0]) }
        }
    }
}

# The rows of the routing table, as route.exe prints them: those that lead to the platform first.
function Add-RouteRow {
    $printed, $ip = (Invoke-Program "$([Environment]::SystemDirectory)\route.exe" 'print -4' 5).Out, '(\d+\.\d+\.\d+\.\d+)'
    foreach ($match in [regex]::Matches($printed, "(?m)^ *$ip +$ip +(\S.*?) +$ip +(\d+) *\r?$")) {
        $destination, $mask, $gateway, $interface, $metric = 1..5 | ForEach-Object { $match.Groups[$_].Value }
        if ($gateway -notmatch "^$ip$") { $gateway = '' } # on-link, in the words of Windows' language
        $leads = @($Imds, $WireServer | Where-Object { ((Get-Number $_) -band (Get-Number $mask)) -eq (Get-Number $destination) })
        $rank = if ($leads) { 2 } else { 12 }
        Add-Record $rank 'route', $destination, $mask, $gateway, $interface, $metric
    }
    Add-Key 2 HKLM 'SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\PersistentRoutes'
}

# The source that a connected UDP socket chooses, which sends nothing; or the number of its error.
function Add-Source {
    foreach ($address in $Imds, $WireServer) {
        $socket = [Net.Sockets.Socket]::new('InterNetwork', 'Dgram', 'Udp')
        try { $socket.Connect([Net.IPAddress]$address, 9); Add-Record 4 'source', $address, $socket.LocalEndPoint.Address, '' }
        catch { Add-Record 4 'source', $address, '', (Get-SocketError $_.Exception) }
        finally { $socket.Close() }
    }
}

function Add-Neighbour {
    $printed = (Invoke-Program "$([Environment]::SystemDirectory)\arp.exe" '-a -v' 5).Out
    if ($printed -notmatch '\d+\.\d+\.\d+\.\d+') { $printed = (Invoke-Program "$([Environment]::SystemDirectory)\arp.exe" '-a' 5).Out }
    $on = ''
    foreach ($line in $printed -split '\r?\n') {
        if ($line -match '^\S.*?(\d+\.\d+\.\d+\.\d+).*?(0x[0-9a-fA-F]+)') { $on = [Convert]::ToInt32($Matches[2], 16) }
        elseif ($line -match '^\s+(\d+\.\d+\.\d+\.\d+)\s+((?:[0-9a-fA-F]{2}-){5}[0-9a-fA-F]{2})?') { Add-Record 8 'neighbour', $on, $Matches[1], $Matches[2] }
    }
}

function Add-ProxySetting {
    $settings = 'Software\Microsoft\Windows\CurrentVersion\Internet Settings'
    $names = 'ProxyEnable', 'ProxyServer', 'ProxyOverride', 'AutoConfigURL', 'AutoDetect'
    Add-Key 5 HKLM "SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings\Connections" 'WinHttpSettings', 'DefaultConnectionSettings'
    Add-Key 5 HKLM $settings $names
    Add-Key 5 HKLM 'Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings' 'ProxySettingsPerUser'
    $variables = 'http_proxy', 'all_proxy', 'no_proxy'
    Add-Key 5 HKLM 'SYSTEM\CurrentControlSet\Control\Session Manager\Environment' $variables
    foreach ($sid in [Microsoft.Win32.Registry]::Users.GetSubKeyNames() | Where-Object { $_ -match '^(S-1-.*(?<!_Classes)|\.DEFAULT)$' }) {
        Add-Key 5 HKU "$sid\$settings" $names
        Add-Key 5 HKU "$sid\$settings\Connections" 'DefaultConnectionSettings'
        Add-Key 5 HKU "$sid\Environment" $variables
        Add-Key 12 HKLM "SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\$sid" 'ProfileImagePath'
    }
    foreach ($name in $variables) {
        $value = [Environment]::GetEnvironmentVariable($name)
        if ($value) { Add-Record 5 'variable', $name, (Get-WithoutSecret $value) }
    }
}

# The firewall: profiles and, of the rules, those that could stop what goes to the platform; the others are counted.
function Add-Firewall {
    $local = 'SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy'
    $policy = 'SOFTWARE\Policies\Microsoft\WindowsFirewall'
    $names = 'EnableFirewall', 'DefaultOutboundAction', 'AllowLocalPolicyMerge'
    foreach ($root in $local, $policy, "$local\Mdm") {
        foreach ($profile in 'DomainProfile', 'PrivateProfile', 'PublicProfile', 'StandardProfile') { Add-Key 6 HKLM "$root\$profile" $names }
    }
    try {
        $firewall = [Activator]::CreateInstance([Type]::GetTypeFromProgID('HNetCfg.FwPolicy2'))
        Add-Record 6 'profiles', $firewall.CurrentProfileTypes
    }
    catch { Add-Record 6 'profiles', '', $_.Exception.Message }
    $networks = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Profiles'
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($networks)
    if ($key) { foreach ($name in @($key.GetSubKeyNames())[0..99]) { if ($name) { Add-Key 6 HKLM "$networks\$name" 'Category' } } }
    $blocks = @($Records | Where-Object { $_.Line -match 'DefaultOutboundAction\tDWord\t1$' }).Count
    $stores = "$local\FirewallRules", "$policy\FirewallRules", "$local\Mdm\FirewallRules", "$local\RestrictedServices\Static\System",
        "$local\RestrictedServices\Configurable\System", "$local\RestrictedServices\AppIso\FirewallRules"
    foreach ($store in $stores) {
        $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($store)
        if (-not $key) { continue }
        $read, $kept, $odd = 0, 0, 0
        Add-Record 6 'key', 'HKLM', $store
        foreach ($name in $key.GetValueNames()) {
            $read++
            $value = $key.GetValue($name)
            if ($value -isnot [string]) { $odd++; continue }
            if ($value -notmatch '\|Dir=Out\|' -or $value -match '\|Active=FALSE\|') { continue }
            if ($value -notmatch '\|Action=Block\|' -and -not $blocks) { continue }
            if ($value -match '\|Protocol=(\d+)\|' -and $Matches[1] -notin '6', '256') { continue }
            if ($kept -ge $RuleLimit) { continue }
            $kept++
            Add-Record 6 'value', $name, 'String', $value
        }
        Add-Record 6 'rules', $store, $read, $kept, $odd
    }
}

function Add-Machine {
    Add-Key 7 HKLM 'SOFTWARE\Microsoft\Windows NT\CurrentVersion' `
        @('ProductName', 'DisplayVersion', 'ReleaseId', 'EditionID', 'CurrentBuildNumber', 'CurrentBuild', 'UBR')
    Add-Key 7 HKLM 'SYSTEM\CurrentControlSet\Services\mssmbios\Data' 'SMBiosData'
    $principal = [Security.Principal.WindowsPrincipal]::new([Security.Principal.WindowsIdentity]::GetCurrent())
    Add-Record 7 'elevated', ([int]$principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator))
    Add-Record 7 'architecture', ([Environment]::GetEnvironmentVariable('PROCESSOR_ARCHITECTURE'))
}

function Add-Service {
    foreach ($name in 'WindowsAzureGuestAgent', 'RdAgent', 'GuestProxyAgent', 'himds', 'Dhcp', 'BFE', 'MpsSvc', 'W32Time') {
        $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("SYSTEM\CurrentControlSet\Services\$name")
        if (-not $key) { continue }
        $printed = (Invoke-Program "$([Environment]::SystemDirectory)\sc.exe" "query $name" 3).Out
        $state = if ($printed -match '(?m)^\s*STATE\s*:\s*(\d)|^\s*\S+\s+:\s+(\d)\s+[A-Z_]+\s*$') { "$($Matches[1])$($Matches[2])" } else { '' }
        Add-Record 7 'service', $name, $state, $key.GetValue('Start')
    }
}

# Who listens on the ports that matter, and who has a connection to IMDS.
function Add-TcpRow {
    $printed = (Invoke-Program "$([Environment]::SystemDirectory)\netstat.exe" '-ano -p TCP' 5).Out
    foreach ($match in [regex]::Matches($printed, '(?m)^\s*TCP\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(\S+?):(\d+)\s+(\S.*?)\s+(\d+)\s*$')) {
        $local, $port, $remote, $remotePort, $state, $id = 1..6 | ForEach-Object { $match.Groups[$_].Value }
        if (($remotePort -eq '0' -and $port -in '80', '3080') -or $remote -eq $Imds) {
            $program = try { [Diagnostics.Process]::GetProcessById([int]$id).ProcessName } catch { '' }
            Add-Record 12 'tcp', $local, $port, $remote, $remotePort, $state, $id, $program
        }
    }
}

# Adds values of a registry key: those that are named, or all. What the registry has it as, and no more.
function Add-Key([int]$rank, [string]$root, [string]$path, [string[]]$names) {
    $hive = if ($root -eq 'HKU') { [Microsoft.Win32.Registry]::Users } else { [Microsoft.Win32.Registry]::LocalMachine }
    try { $key = $hive.OpenSubKey($path) } catch { return Add-Record $rank 'nokey', $root, $path, $_.Exception.Message }
    if (-not $key) { return }
    try {
        $held = @($key.GetValueNames())
        $wanted = if ($names) { @($held | Where-Object { $names -contains $_ }) } else { @($held | Select-First 500) }
        if (-not $wanted) { return }
        Add-Record $rank 'key', $root, $path
        foreach ($name in $wanted) {
            $value, $kind = $key.GetValue($name, $null, 'DoNotExpandEnvironmentNames'), "$($key.GetValueKind($name))"
            if ($value -is [byte[]]) { $value = [Convert]::ToBase64String($value) }
            elseif ($value -is [string[]]) { $value = $value -join "`0" }
            Add-Record $rank 'value', $name, $kind, (Get-WithoutSecret "$value")
        }
    }
    finally { $key.Close() }
}

function Select-First([int]$count) { begin { $at = 0 } process { if ($at++ -lt $count) { $_ } } }

# The block: as many records as fit, by rank; how many of each kind are left out is a record too.
function Get-Block([int]$room) {
    $sorted = @($Records.ToArray() | Sort-Rank)
    $low, $high, $best = 0, $sorted.Count, $null
    while ($low -le $high) {
        $middle = [int][Math]::Floor(($low + $high) / 2)
        $block = New-Block $sorted $middle
        $size = 0
        foreach ($line in $block) { $size += $line.Length + 2 }
        if ($size -le $room) { $best = $block; $low = $middle + 1 } else { $high = $middle - 1 }
    }
    return $best
}

# Records by their rank, in the order in which they came.
function Sort-Rank {
    begin { $by = @{} }
    process { if (-not $by.ContainsKey($_.Rank)) { $by[$_.Rank] = @() }; $by[$_.Rank] += $_ }
    end { foreach ($rank in 1..12) { if ($by.ContainsKey($rank)) { $by[$rank] } } }
}

# The lines of a block with the first $count records.
function New-Block([object[]]$sorted, [int]$count) {
    $lines = @(if ($count) { $sorted[0..($count - 1)] | ForEach-Object { $_.Line } })
    $lines += "records`t$count`t$($sorted.Count)"
    $bytes = [Text.Encoding]::UTF8.GetBytes($lines -join "`n")
    $memory = [IO.MemoryStream]::new()
    $deflate = [IO.Compression.DeflateStream]::new($memory, [IO.Compression.CompressionLevel]::Optimal, $true)
    $deflate.Write($bytes, 0, $bytes.Length)
    $deflate.Dispose()
    $packed = [Convert]::ToBase64String($memory.ToArray())
    $sha256 = [Security.Cryptography.SHA256CryptoServiceProvider]::new()
    $sum = [BitConverter]::ToString($sha256.ComputeHash([Text.Encoding]::ASCII.GetBytes($packed))).Replace('-', '').ToLowerInvariant().Substring(0, 8)
    "RAW 1 $($packed.Length) $sum"
    for ($at = 0; $at -lt $packed.Length; $at += 100) { '  ' + $packed.Substring($at, [Math]::Min(100, $packed.Length - $at)) }
    'RAW END'
}

# --- errors, in words ----------------------------------------------------------------------------------------------------

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

# What an error of Windows or of its sockets means to an operator (winerror.h); nothing where it is none of these.
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

# --- run -----------------------------------------------------------------------------------------------------------------

$Began, $Ending = [DateTime]::UtcNow, @{ Code = 3 }
$CollectUntil = $Began.AddSeconds(15)
$Constrained = "$($ExecutionContext.SessionState.LanguageMode)" -ne 'FullLanguage'
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
