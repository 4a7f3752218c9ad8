# imds-check @VERSION@: finds the one cause why this Azure VM cannot use the Instance Metadata Service.
#
# For Azure Run Command (RunPowerShellScript): paste it whole, or az vm run-command invoke --scripts @imds-check.ps1
#
# It prints a short report, and what it saw in two blocks (RAW; on standard error DOCUMENT): "imds-check decode" finds the cause in
# them, and the commands that fix it, anywhere. It changes and downloads nothing, and needs PowerShell 5.1 or later and no module.
#   reads   adapters, routes, ARP, TCP connections to IMDS, proxies (passwords and queries as x), firewall rules and filters, in which
#           stores the certificates of IMDS's attested document lie, eight services, Windows' edition, SMBIOS, its own rights
#   starts  route, arp, netstat, netsh, sc; in ConstrainedLanguage mode also reg, curl and whoami
#   asks    169.254.169.254:80 (12 requests at most, never for a token), 168.63.129.16:80 and :32526, both through the proxies that are
#           set, and DNS for their names; Windows may fetch certificates that the document lacks
#   prints  of IMDS's answer names, ids and addresses of the VM; never tags, user data or keys
#
# With ExePath or ExeUri, or where an earlier run has kept it (%ProgramFiles%\imds-check, where only SYSTEM and administrators
# write), it runs imds-check.exe instead, and only that of the SHA-256 below.
#
# Parameters, all of them text, none of them needed:
#   ExpectedMac, ExpectedIp  what Azure says of the primary NIC
#   ExePath    where the exe lies on this VM, with "/" (Run Command may take "\n" for a line break)
#   ExeUri     where to download it: https://... or that in base64 (Run Command breaks a value at "&"), or "release": $DefaultUri
#   Arguments  options of the exe: "--format=full --no-files", "--redact"; what holds blanks stands in '...'
#   ExitCode   "verdict": end with the verdict's exit code, else with 0: Run Command loses the output of a script that fails.

# Without attributes and default values, so that a script pasted twice can be read.
param([string]$ExpectedMac, [string]$ExpectedIp, [string]$ExeUri, [string]$ExePath, [string]$Arguments, [string]$ExitCode)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$Version = '@VERSION@'
$ExeSha256 = '@SHA256@'
$ExeSize = [long]'@SIZE@' # bytes
$DefaultUri = '@EXE_URI@'
$Control, $WindowsNT = 'HKLM\SYSTEM\CurrentControlSet\Control', 'HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$Services = 'HKLM\SYSTEM\CurrentControlSet\Services'
$Imds, $WireServer, $Ip = '169.254.169.254', '168.63.129.16', '(\d+\.\d+\.\d+\.\d+)'
$ApiVersion = '2021-02-01'
$InstancePath = "/metadata/instance?api-version=$ApiVersion"
$JsonObjects = '', 'compute', 'network', 'interface', 'ipv4', 'ipAddress', 'subnet', 'error', 'newest-versions', 'apiVersions'
$JsonKeys = @('vmId', 'azEnvironment', 'location', 'name', 'offer', 'sku', 'publisher', 'licenseType', 'osType', 'subscriptionId',
    'resourceGroupName', 'resourceId', 'isHostCompatibilityLayerVm' | ForEach-Object { "compute/$_" }) +
    @('interface/macAddress', 'ipAddress/privateIpAddress', 'subnet/address', 'subnet/prefix', 'error/message', '/error', '/error_description',
    '/encoding', '/signature', '/tenantId', 'newest-versions/newest-versions', 'apiVersions/apiVersions')
$AnswerLimit, $RecordLimit, $RuleLimit = 1MB, 32768, 300
$SeenRoom = 900 # bytes for what was seen, beside the block
$ConnectSeconds, $AnswerSeconds = 3, 5
$HeadSeconds, $DownloadSeconds = 20, 60 # until an answer begins; for all tries
$Deadline, $Grace = 20, 30 # seconds: imds-check's own, and where an antivirus looks at it first
$ReportLimit = 3900 # bytes, every line end counted as two

# --- the flow ---

function Start-Check([string[]]$unknown) {
    if ($unknown) {
        $known = 'ExpectedMac, ExpectedIp, ExeUri, ExePath, Arguments and ExitCode'
        $names = @($unknown) -match '^-\w' -replace ':.*' # values may be secret
        return Write-Report inconclusive 2 "Wrong parameters: $(if ($names) { "$names" } else { 'a value without a name' }). There are $known."
    }
    if ($Constrained) { return Write-Collected 'a policy keeps PowerShell to ConstrainedLanguage mode' }
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

# Gives the exe, verified and open; throws why it cannot be had.
function Get-Exe {
    if ($ExeSha256.Length -ne 64) { throw 'this script was built without the exe, so it knows no SHA-256 that may run' }
    New-Folder
    $kept, $reasons, $uri, $exe = (Get-KeptPath), @(), $null, $null
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
    $exe
}

# Opens the exe: nobody can change it until it is closed. Throws where it is another file.
function Open-Exe([string]$path) {
    if (-not [IO.File]::Exists($path)) { throw 'there is no such file' }
    foreach ($pause in 300, 1000, 0) {
        try { $file = [IO.FileStream]::new($path, 'Open', 'Read', 'Read'); break }
        catch { if ($pause) { [Threading.Thread]::Sleep($pause) } else { throw } } # an antivirus may be looking at it
    }
    try { Confirm-Exe $file } catch { $file.Dispose(); throw }
    $file
}

function Confirm-Exe([IO.Stream]$content) {
    $content.Position = 0
    if ($content.ReadByte() -eq 60) { throw 'it begins with "<": a page, and not the exe' }
    if ($content.Length -ne $ExeSize) {
        throw "it has $($content.Length) bytes instead of ${ExeSize}: another version than $Version, or a part of it"
    }
    $content.Position = 0
    $found = Get-Sha256 $content
    if ($found -ne $ExeSha256) { throw "its SHA-256 is $found, and that of version $Version is ${ExeSha256}: it was not run" }
}

function Get-Sha256([IO.Stream]$content) {
    $sha256 = [Security.Cryptography.SHA256CryptoServiceProvider]::new() # SHA256Managed is refused where FIPS is required
    [BitConverter]::ToString($sha256.ComputeHash($content)).Replace('-', '').ToLowerInvariant()
}

function Save-Exe([IO.Stream]$content, [string]$kept) {
    if ([IO.File]::Exists($kept)) { try { (Open-Exe $kept).Dispose(); return } catch { [IO.File]::Delete($kept) } }
    $part = "$kept.$PID"
    try {
        $file = [IO.FileStream]::new($part, 'Create', 'Write', 'None')
        try { $content.Position = 0; $content.CopyTo($file) } finally { $file.Dispose() }
        [IO.File]::Move($part, $kept)
    }
    finally { [IO.File]::Delete($part) }
}

# Makes the folder of the exe; throws where somebody else may write there.
function New-Folder {
    $programs = [Environment]::GetFolderPath('ProgramFiles')
    Confirm-Folder $programs 'take that right away'
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
    # SYSTEM, Administrators, TrustedInstaller
    $trusted = 'S-1-5-18', 'S-1-5-32-544', 'S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464', $own
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

# http:// will do as well: the checksum decides what is run.
function Get-Uri {
    $text = $ExeUri.Trim()
    if ($text -eq 'release') { $text = $DefaultUri; if (-not $text) { throw 'this script was built without an address: give one' } }
    elseif ($text -and $text -notmatch '^https?://') {
        $text = try { [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($text)).Replace("`0", '') } catch { } # UTF-16 too
        if ("$text" -notmatch '^https?://') { throw 'it is neither an https:// address nor one in base64' }
    }
    try { if ($text) { [Uri]::new($text) } } catch { throw 'it is not a valid address' }
}

function Receive-Exe([Uri]$uri) {
    $until = [DateTime]::UtcNow.AddSeconds($DownloadSeconds)
    foreach ($pause in 2, 4, 0) {
        $Notes.Passes = $true # what is wrong may pass
        try { return Receive-Once $uri $until }
        catch {
            if (-not $Notes.Passes -or -not $pause -or [DateTime]::UtcNow.AddSeconds($pause) -gt $until) { throw }
            [Threading.Thread]::Sleep(1000 * $pause)
        }
    }
}

function Receive-Once([Uri]$uri, [DateTime]$until) {
    $answer = Open-Url $uri ([Math]::Min($HeadSeconds, ($until - [DateTime]::UtcNow).TotalSeconds))
    try {
        $status = [int]$answer.StatusCode
        $Notes.Passes = $status -in 408, 429 -or $status -ge 500
        if ($status -in 401, 403) { throw "HTTP $status, access denied: a signature (SAS) has expired, or the address was cut at `"&`" (base64 is not)" }
        if ($status -ne 200) { throw "HTTP $status$(if ($status -eq 404) { ', not found: look at the address' })" }
        if ($answer.ContentType -like 'text/html*') {
            throw "a page in HTML came$(Get-Detail " from $($answer.ResponseUri.Host)"), and not the exe"
        }
        $Notes.Passes = $true
        $content = Read-Body $answer $until
    }
    finally { $answer.Close() }
    $Notes.Passes = $false
    Confirm-Exe $content
    $content
}

function Open-Url([Uri]$uri, [double]$seconds) {
    if ($IsFramework) {
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

function Read-Body([Net.WebResponse]$answer, [DateTime]$until) {
    $content, $buffer, $stream = [IO.MemoryStream]::new(), [byte[]]::new(65536), $answer.GetResponseStream()
    $expected = $answer.ContentLength # -1: not told
    while ([Math]::Max($expected, $content.Length) -le $ExeSize) {
        try {
            $left = [int]($until - [DateTime]::UtcNow).TotalMilliseconds
            $read = $stream.ReadAsync($buffer, 0, $buffer.Length)
            if ($left -le 0 -or -not $read.Wait($left)) { throw 'the time was over' }
            if (-not $read.Result -and $content.Length -lt $expected) { throw 'the connection was closed' }
        }
        catch { throw "cut after $($content.Length)$(if ($expected -ge 0) { " of $expected" }) bytes: $(Get-Reason $_.Exception)" }
        if (-not $read.Result) { return $content }
        $content.Write($buffer, 0, $read.Result)
    }
    throw "it has more than $ExeSize bytes"
}

# The exit code is $null where it had to be killed.
function Invoke-Program([string]$file, [string]$options, [double]$seconds) {
    $start = [Diagnostics.ProcessStartInfo]::new($file, $options)
    $start.UseShellExecute, $start.CreateNoWindow, $start.WorkingDirectory = $false, $true, $System
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

function Invoke-Tool([string]$name, [string[]]$options) {
    $file = "$System\$name.exe"
    if (-not $Constrained) {
        $ran = Invoke-Program $file "$options" (Get-Left 5)
        if ($null -eq $ran.Code) { throw "$name.exe did not end, and was killed" }
        return $ran.Out
    }
    $ErrorActionPreference = 'Continue' # Windows PowerShell fails at a line on standard error
    (& $file $options 2>$null) -join "`n"
}

function Stop-Program([Diagnostics.Process]$process) {
    try {
        if (-not $IsFramework) { return $process.Kill($true) }
        [void][Diagnostics.Process]::Start("$System\taskkill.exe", "/F /T /PID $($process.Id)").WaitForExit(5000)
        if (-not $process.HasExited) { $process.Kill() }
    }
    catch { } # it has just ended
}

# --- the report without the exe ---

# $why: why the exe did not run, where it was to.
function Write-Collected([string]$why) {
    Get-Material
    $metadata = $Notes.Metadata
    $seen = @('CHECKS') + (Get-CheckLine imds.reachable $Notes.Reachable) + (Get-CheckLine imds.metadata $metadata) +
        (Get-CheckLine wireserver.reachable $Notes.WireServer)
    if (-not $Redact) {
        $seen += @($Notes.Proxies | ForEach-Object { Get-CheckLine proxy @{ Status = 'note'; Text = "$_ is set on this VM" } }) +
            "ROUTES   to $Imds and ${WireServer}; > wins" + (Get-RouteLine $Notes.Routes) + $Notes.Source + 'ADAPTERS' + $Notes.Adapters
    }
    $verdict, $code, $found = 'inconclusive', 3, 'Whether IMDS answers could not be found out.'
    if ($metadata.Status -eq 'ok') { $found = 'IMDS answers. Whether anything else is wrong was not judged here.' }
    elseif ($metadata.Status -ne 'error') { $verdict, $code, $found = 'broken', 1, 'IMDS does not give this VM its metadata.' }
    $said = @("$found$($Notes.Proof)")
    if ($why) { $said += "imds-check.exe did not run: $($why.Trim(' .'))." }
    $next = 'For the cause and its fix, copy this whole text into "imds-check decode", anywhere with Python (Azure Cloud Shell has it), or run imds-check.exe here.'
    if ($Redact) { $next = 'For the cause and its fix, run this without --redact, and "imds-check decode --redact" on its output.' }
    Write-Report $verdict $code $said @($next) $seen -WithRaw:(-not $Redact)
}

# $seen is cut where there is no room.
function Write-Report([string]$verdict, [int]$code, [string[]]$said, [string[]]$next, [string[]]$seen, [string]$cause = '-', [switch]$WithRaw) {
    $Ending.Code = $code
    $at = '{0:s}Z' -f $Began
    $seconds = Get-Rounded ([DateTime]::UtcNow - $Began).TotalSeconds '0.0'
    $lines = @("IMDS-CHECK $Version  $HostName  $at  $seconds s", "VERDICT  $($verdict.ToUpperInvariant())")
    foreach ($text in $said) { $lines += Get-Wrapped $text '  ' }
    if ($next) { $lines += 'NEXT' }
    foreach ($text in $next) { $lines += Get-Wrapped $text '  ' }
    $end = "END IMDS-CHECK verdict=$verdict cause=$cause exit=$code host=$HostName at=$at v=$Version"
    $left = $ReportLimit
    foreach ($line in $lines + $end) { $left -= $line.Length + 2 }
    $raw = @()
    if ($WithRaw) {
        Add-Record 1 (@('done') + $Notes.Done)
        Add-Record 1 'run', $Version, $HostName, $at, $seconds, $PID
        $room = ($seen -join '  ').Length
        if ($room -gt $SeenRoom) { $room = $SeenRoom }
        $raw = @(Get-Block RAW $Records ($left - $room))
        foreach ($line in $raw) { $left -= $line.Length + 2 }
    }
    $left -= 20 # for "(+N more)"
    for ($shown = 0; $seen -and $shown -lt $seen.Count; $shown++) {
        $line = Get-Plain $seen[$shown] 240
        $left -= $line.Length + 2
        if ($left -lt 0) { $lines += "  (+$($seen.Count - $shown) more)"; break }
        $lines += $line
    }
    $lines
    $raw
    $end
    # Run Command keeps both streams.
    if ($WithRaw -and $Documents.Count) { Get-Block DOCUMENT $Documents $ReportLimit | ForEach-Object { [Console]::Error.WriteLine($_) } }
}

function Get-Wrapped([string]$text, [string]$indent) {
    foreach ($part in [regex]::Matches((Get-Plain $text 900), '.{1,112}(?:\s+|$)|\S{1,112}')) {
        $indent + $part.Value.TrimEnd()
        $indent = ' ' * $indent.Length
    }
}

function Get-Plain([string]$text, [int]$limit) {
    $plain = -join $(foreach ($character in (Get-Start $text $limit).ToCharArray()) {
            if ($character -match '[ -~]') { $character } elseif ($character -match '\s') { ' ' } else { '\u{0:X4}' -f [int]$character }
        })
    if ($plain.Length -gt $limit -or $text.Length -gt $limit) { $plain = (Get-Start $plain ($limit - 3)) + '...' }
    $plain
}

function Get-Start([string]$text, [int]$limit) { if ($text.Length -gt $limit) { $text.Substring(0, $limit) } else { $text } }
function Get-CheckLine([string]$id, $check) { '  {0,-5} {1,-20} {2}' -f $check.Status, $id, $check.Text }
function Get-Detail([string]$text) { if (-not $Redact) { $text } }
function Get-Rounded([double]$number, $form) { $number.ToString($form, $Invariant) }

# Destination, mask, gateway ('': on-link), interface and metric.
function Get-RouteRow {
    foreach ($match in [regex]::Matches($Notes.RoutePrint, "(?m)^ *$Ip +$Ip +(\S.*?) +$Ip +(\d+) *\r?$")) {
        $row = @(1..5 | ForEach-Object { $match.Groups[$_].Value })
        if ($row[2] -notmatch "^$Ip$") { $row[2] = '' } # in the words of Windows' language
        , $row
    }
}

function Get-RouteLine([object[]]$rows) {
    $columns = '{0,-16}{1,-16}{2,-16}{3,-16}{4,5}'
    "  $columns" -f 'Destination', 'Netmask', 'Gateway', 'Interface', 'Metric'
    $leading, $most, $best = @($rows | Where-Object { $_ -and (Get-Led $_) }), @{}, @{}
    foreach ($row in $leading) {
        $weight = 1e6 * (1 + (Get-Number $row[1])) - $row[4]
        foreach ($address in Get-Led $row) { if ($weight -gt $most[$address]) { $most[$address], $best[$address] = $weight, "$row" } }
    }
    foreach ($row in $leading) {
        $mark = if ($best.Values -contains "$row") { '>' } else { ' ' }
        "$mark $columns" -f $row[0], $row[1], $(if ($row[2]) { $row[2] } else { 'On-link' }), $row[3], $row[4]
    }
    if (-not $leading) { "  none leads to $Imds or $WireServer" }
}

function Get-Led([object[]]$row) {
    $Imds, $WireServer | Where-Object { ((Get-Number $_) -band (Get-Number $row[1])) -eq (Get-Number $row[0]) }
}

function Get-Number([string]$address) {
    $number = [long]0
    foreach ($part in $address.Split('.')) { $number = 256 * $number + [int]$part }
    $number
}

# --- the raw material ---
# A record is a line of fields (see recorded.py); its rank says how much it matters.

function Add-Record($rank, [object[]]$fields) {
    $texts = foreach ($field in $fields) { "$field".Replace('\', '\\').Replace("`t", '\t').Replace("`n", '\n').Replace("`r", '\r') }
    $line = $texts -join "`t"
    $record = @{ Rank = $rank; Part = $Notes.Part; Line = $line; Fits = $line.Length -le $RecordLimit }
    if ($Notes.Part -in 'certificate_chains', 'document') { $Documents[$Documents.Count] = $record }
    if ($Notes.Part -ne 'document') { $Records[$Records.Count] = $record }
}

function Invoke-Part([string]$name, [scriptblock]$part) {
    $Notes.Part = $name
    if ([DateTime]::UtcNow -gt $CollectUntil) { return Add-Record 1 'missing', $name, 'the script had no time left for it' }
    try { [void](& $part); $Notes.Done += $name }
    catch { Add-Record 1 'missing', $name, "$(Get-Reason $_.Exception) (line $($_.InvocationInfo.ScriptLineNumber))" }
}

# So many seconds, or what is left.
function Get-Left([double]$seconds) {
    $left = ($CollectUntil - [DateTime]::UtcNow).TotalSeconds
    if ($left -gt $seconds) { $seconds } elseif ($left -gt 0.1) { $left } else { 0.1 }
}

function Get-Material {
    $CollectUntil = [DateTime]::UtcNow.AddSeconds($(if ($Deadline -lt 20) { 0.75 * $Deadline } else { 15 }))
    $Notes.Reachable = $Notes.Metadata = $Notes.WireServer = @{ Status = 'error'; Text = 'not tried' }
    if ($ExpectedMac -or $ExpectedIp) { Add-Record 1 'given', $ExpectedMac.Trim(), $ExpectedIp.Trim() }
    if ($Constrained) { Invoke-Part 'routes' { Add-Route }; Invoke-Part 'skipped' { Add-Skipped } }
    Invoke-Part 'devices' { Add-Device }
    Invoke-Part 'adapters' { if ($Constrained) { Add-AdapterByTool } else { Add-Adapter } }
    Invoke-Part 'lookups' { Add-Source }
    Invoke-Part 'proxies' { Add-ProxySetting }
    $places = (Get-Place imds $Imds 80), (Get-Place wire $WireServer 80), (Get-Place plugin $WireServer 32526)
    Invoke-Part 'imds' { if ($Constrained) { Add-TryByCurl @places } else { Add-Try @places } }
    Invoke-Part 'firewall' { Add-Firewall }
    Invoke-Part 'machine' { Add-Machine }
    if (-not $Constrained) { Invoke-Part 'routes' { Add-Route }; Invoke-Part 'skipped' { Add-Skipped } } # programs may hang
    Invoke-Part 'wfp_filters' { Add-Filter }
    Invoke-Part 'neighbours' { Add-Neighbour }
    Invoke-Part 'services' { Add-Service }
    Invoke-Part 'listeners' { Add-TcpRow }
}

# Side by side. Each place gets Code (0: connected, -1: no answer in time, else Winsock's), Seconds, Local and Client.
function Connect-Place([object[]]$places) {
    $clock, $seconds = [Diagnostics.Stopwatch]::StartNew(), (Get-Left $ConnectSeconds)
    foreach ($place in $places) {
        $place.Code, $place.Local, $place.Client, $place.Task, $place.Seconds = -1, '', $null, $null, $seconds
        try {
            $place.Client = [Net.Sockets.TcpClient]::new([Net.Sockets.AddressFamily]::InterNetwork)
            if ($place.Source) { $place.Client.Client.Bind([Net.IPEndPoint]::new([Net.IPAddress]$place.Source, 0)) }
            $place.Task = $place.Client.ConnectAsync([Net.IPAddress]$place.Address, $place.Port)
        }
        catch { $place.Code, $place.Seconds = (Get-SocketError $_.Exception), 0 }
    }
    do {
        [Threading.Thread]::Sleep(5)
        $waiting = @($places | Where-Object { $_.Code -eq -1 })
        foreach ($place in $waiting) {
            if (-not $place.Task.IsCompleted) { continue }
            $place.Seconds = $clock.Elapsed.TotalSeconds
            $place.Code = if ($place.Task.IsFaulted) { Get-SocketError $place.Task.Exception } else { 0 }
        }
    } while ($waiting -and $clock.Elapsed.TotalSeconds -lt $seconds)
    foreach ($place in $places) {
        if (-not $place.Client) { continue }
        try { $place.Local = "$($place.Client.Client.LocalEndPoint.Address)" -replace '^0\.0\.0\.0$' } catch { }
        if ($place.Code -ne 0) { $place.Client.Close() }
    }
}

function Get-Place($key, $address, $port, $source) { @{ Key = $key; Address = $address; Port = $port; Source = $source } }

# Winsock's number; -2 where there is none.
function Get-SocketError($exception) {
    for ($inner = $exception; $inner; $inner = $inner.InnerException) {
        if ($inner -is [Net.Sockets.SocketException]) { return [int]$inner.SocketErrorCode }
    }
    -2
}

# Sends one GET, where it is connected. Gives the answer as text (Latin-1), and how it ended.
function Receive-Answer($place, $target, $name = $Imds, $seconds = $AnswerSeconds) {
    $headers = ''
    if ($place.Code -ne 0) { return }
    if ($name -eq $Imds) { # at most 3 a second
        [Threading.Thread]::Sleep([int][Math]::Max(0, [Math]::Min(340, 340 - ([DateTime]::UtcNow - $Notes.Asked).TotalMilliseconds)))
        $Notes.Asked, $headers = [DateTime]::UtcNow, "Metadata: true`r`n"
    }
    $clock, $ended, $seconds = [Diagnostics.Stopwatch]::StartNew(), 'closed', (Get-Left $seconds)
    $content, $buffer = [IO.MemoryStream]::new(), [byte[]]::new(65536)
    try {
        $stream = $place.Client.GetStream()
        $stream.WriteTimeout = [int](1000 * $seconds)
        $request = $Latin.GetBytes("GET $target HTTP/1.1`r`nHost: $name`r`n${headers}User-Agent: imds-check`r`nConnection: close`r`n`r`n")
        $stream.Write($request, 0, $request.Length)
        while ($true) {
            $left, $read = [int](1000 * ($seconds - $clock.Elapsed.TotalSeconds)), $stream.ReadAsync($buffer, 0, $buffer.Length)
            if ($left -le 0 -or -not $read.Wait($left)) { $ended = 'timeout'; break }
            if (-not $read.Result) { break }
            $content.Write($buffer, 0, $read.Result)
            if ($content.Length -gt $AnswerLimit) { $ended = 'endless'; break }
            if (Test-Whole $Latin.GetString($content.GetBuffer(), 0, [Math]::Min(16384, [int]$content.Length)) $content) { $ended = 'whole'; break }
        }
    }
    catch { $ended = "$(Get-SocketError $_.Exception)" }
    finally { $place.Client.Close() }
    return @{ Text = $Latin.GetString($content.ToArray()); Ended = $ended; Seconds = $clock.Elapsed.TotalSeconds
        At = '{0:s}Z' -f [DateTime]::UtcNow }
}

# Whether an answer ($text: its beginning) has ended.
function Test-Whole([string]$text, [IO.MemoryStream]$content) {
    $at = $text.IndexOf("`r`n`r`n")
    if ($at -lt 0) { return $false }
    $head = $text.Substring(0, $at)
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') {
        return $Latin.GetString($content.GetBuffer(), [Math]::Max(0, [int]$content.Length - 7), 7) -eq "`r`n0`r`n`r`n"
    }
    return $head -match '(?im)^Content-Length:\s*(\d{1,9})\s*$' -and $content.Length - $at - 4 -ge [int]$Matches[1]
}

function Add-TryRecord($rank, $place, $target, $answer) {
    $fields = @('try', $place.Key, $place.Address, $place.Port, $place.Source, $place.Local, $place.Code, (Get-Rounded $place.Seconds '0.000'), $target)
    if (-not $answer) { return Add-Record $rank $fields }
    $head, $body, $kept = '', $answer.Text, ''
    $at = $body.IndexOf("`r`n`r`n")
    if ($at -ge 0) { $head, $body = $body.Substring(0, $at), $body.Substring($at + 4) }
    if ($head -match '(?im)^Transfer-Encoding:\s*chunked') { $body = Get-Unchunked $body }
    if ($at -ge 0) { $kept = Get-KeptBody $body }
    Add-Record $rank ($fields + @($answer.Ended, (Get-Rounded $answer.Seconds '0.000'), $answer.At, (Get-KeptHead $head), $body.Length, $kept))
}

# The status line and the headers that are looked at.
function Get-KeptHead([string]$head) {
    $lines = @((Get-Start $head 65536) -split "`r`n")
    $names = 'Server', 'Via', 'X-Squid-Error', 'Proxy-Agent', 'Content-Type', 'Content-Length', 'Transfer-Encoding', 'Location', 'Date'
    $kept = @($lines[0]) + @($lines | Where-Object { ($_ -replace ':.*') -in $names } | Select-First 12)
    ($kept | ForEach-Object { Hide-Word (Get-Start $_ 300) }) -join "`r`n"
}

# What may leave this VM: some values of JSON, a page's title, the WireServer's versions.
function Get-KeptBody([string]$body) {
    $start = $body.TrimStart()
    if (-not $start) { return '' }
    if ($start -match '^(?:<\?xml[^>]*>\s*)?<Versions') { return "<Versions>$([regex]::Matches($body, '<Version>\d{4}-\d\d-\d\d</Version>') | Select-First 60)" }
    if ($start[0] -eq '<') {
        $title = [regex]::Match((Get-Start $body 20000), '(?i)<title[^>]{0,100}>[^<]{1,200}').Value
        return "<html>$(Hide-Word $title)"
    }
    if ($start[0] -in '{', '[') { return Get-KeptJson $start }
    return '-'
}

# Only the values of $JsonKeys (enclosing key/key) and 40 items of a list; what is no JSON ends with "!".
function Get-KeptJson([string]$text) {
    $kept, $open, $depth, $key, $last, $dropped, $tokens = '', @{ 0 = @{ Key = ''; Close = ''; Count = 0 } }, 0, '', '', 0, 0
    if ($text.Length -gt 262144) { return '!' }
    foreach ($match in [regex]::Matches($text, '("(?:[^"\\\x00-\x1F]|\\.)*")(\s*:)?|[^\s{}\[\]:,"]+|\S')) {
        $token, $holder = $match.Value, $open[$depth]
        if ($match.Groups[2].Success) {
            $bad = $holder.Close -ne '}' -or $last -notin 'begin', ','
            $key, $last = $match.Groups[1].Value.Trim('"'), 'key'
        }
        elseif ($token -eq ',') { $bad, $last = ($last -ne 'value'), ',' }
        elseif ($token -in '}', ']') {
            $bad, $last = ($token -ne $holder.Close -or $last -in ',', 'key'), 'value'
            if (-not $bad) { $depth-- }
            if ($dropped) { $dropped-- } else { $kept += $token }
        }
        else {
            $close, $own = @{ '{' = '}'; '[' = ']' }[$token], $holder.Key
            if ($holder.Close -eq '}') { $own = $key }
            $bad = $last -eq 'value' -or ($holder.Close -eq '}' -and $last -ne 'key') -or $depth -gt 99 -or
                (-not $close -and $token -cnotmatch '^("(.|\n)*"|-?\d[\d.eE+-]*|true|false|null)$')
            $holder.Count++
            $wanted = if ($close) { $JsonObjects -ccontains $own } else { $JsonKeys -ccontains "$($holder.Key)/$own" }
            if ($wanted -and -not $dropped -and $holder.Count -le 40) {
                if ($kept -and $kept[-1] -notin '{', '[') { $kept += ',' }
                if ($holder.Close -eq '}') { $kept += "`"$key`":" }
                if ($token.Length -gt 300) { $token = (Get-Start $token 299) -replace '\\+[^\\]{0,5}\z' -replace '^".*', '$0"' }
                if ($own -in 'signature', 'tenantId' -and $token.Length -gt 2) { $token = '"-"' }
                elseif ($own -in 'message', 'error', 'error_description' -and -not $close) { $token = '"' + (Hide-Word ($token -replace '^"|"\z' -replace '\\.', ' ')) + '"' }
                $kept += $token
            }
            elseif ($close) { $dropped++ }
            if ($close) { $depth++; $open[$depth] = @{ Key = $own; Close = $close; Count = 0 } }
            $last = if ($close) { 'begin' } else { 'value' }
        }
        if ($bad -or ++$tokens -gt 20000 -or $kept.Length -gt 14000) { return "$(Get-Start $kept 2000)!" }
    }
    $kept
}

# The content of a chunked body (RFC 9112, 7.1).
function Get-Unchunked([string]$body) {
    -join $(for ($at, $left = 0, 5000; $left-- -and $at -lt $body.Length; $at += $length + 2) {
            $line = $body.IndexOf("`r`n", $at)
            if ($line -lt 0 -or $line - $at -gt 300 -or $body.Substring($at, $line - $at) -notmatch '^\s*([0-9A-Fa-f]{1,7})(?![0-9A-Fa-f])') { break }
            $length, $at = [int]"0x$($Matches[1])", ($line + 2)
            if (-not $length) { break }
            if ($length -gt $body.Length - $at) { $length = $body.Length - $at }
            $body.Substring($at, $length)
        })
}

# A text of the same length with x for what may be secret: what is before an @, and a query.
function Hide-Secret([string]$text) {
    if ($text.Length -gt $RecordLimit) { return 'x' * ($RecordLimit + 1) } # there is no room for it
    if ($text -notmatch '[@?#]') { return $text }
    $end = $text.LastIndexOf([char]'@')
    if ($end -ge 0) {
        # a length in a binary value stays
        $pattern = '(?<![^;\s\x00-\x1F])(?:\w{1,16}=)?(?:\w{1,16}://)?([^;\s\x00-\x1F]+)(?![\x00-\x1F]\x00\x00)'
        foreach ($match in [regex]::Matches($text.Substring(0, $end), $pattern)) { $text = Hide-Group $text $match.Groups[1] }
    }
    foreach ($match in [regex]::Matches($text, '[?#]([^\s\x00-\x1F]+)')) { $text = Hide-Group $text $match.Groups[1] }
    $text
}

function Hide-Group([string]$text, $group) { $text.Remove($group.Index, $group.Length).Insert($group.Index, 'x' * $group.Length) }

# A text without what looks like a key or names one.
function Hide-Word([string]$text) {
    $text = [regex]::Replace((Hide-Secret $text), '(?i)((?:key|token|sig|signature|secret|pass\w*|pwd|psk|cookie|credential|authorization|bearer|basic)\W{1,8})(basic\s|bearer\s)?[^\s&;,"<]+', '$1x')
    [regex]::Replace($text, '[A-Za-z0-9+/_=%-]{32,}', 'x')
}

# Plain, from each local address where IMDS did not answer, and through the proxies.
function Add-Try($plain, $wire, $plugin) {
    $CollectUntil = $CollectUntil.AddSeconds(-4) # for the other parts
    Connect-Place @($plain, $wire, $plugin)
    foreach ($pause in 1, 2, 4, 0) {
        $answer = Receive-Answer $plain $InstancePath
        Add-TryRecord 1 $plain $InstancePath $answer
        if (-not $answer -or $answer.Text -notmatch '^HTTP/1\.[01] (410|429|5\d\d) ') { break }
        if (-not $pause -or [DateTime]::UtcNow.AddSeconds($pause + 2) -gt $CollectUntil) { break }
        [Threading.Thread]::Sleep(1000 * $pause)
        Connect-Place @($plain)
    }
    Add-TryRecord 1 $wire '/?comp=versions' (Receive-Answer $wire '/?comp=versions' $WireServer)
    if ($plugin.Code -eq 0) { $plugin.Client.Close() }
    Add-TryRecord 1 $plugin
    Set-Check $plain $wire $plugin $answer
    $answers, $left = ($Notes.Metadata.Status -eq 'ok'), 4
    $others = @(Get-ProxyPlace)
    if (-not $answers) { $others = @(Get-TrialPlace) + $others }
    if ($others) { Connect-Place $others }
    foreach ($place in $others) {
        if ([DateTime]::UtcNow -gt $CollectUntil) { break }
        $rank, $target, $name, $found = 1, $InstancePath, $Imds, $null
        $tries = $place.Key -eq 'trial'
        if (-not $tries) { $rank, $target = 5, "http://$Imds$InstancePath" }
        if ($place.Key -like 'wireproxy*') { $target, $name = "http://$WireServer/?comp=versions", $WireServer }
        if ($place.Code -eq 0 -and (-not $tries -or $left -gt 0)) {
            $found = Receive-Answer $place $target $name 2
            if ($tries) { $left-- }
            if ($tries -and (Set-Proof $place $found)) { $left = 0 }
        }
        elseif ($place.Code -eq 0) { $place.Client.Close() }
        Add-TryRecord $rank $place ($target -replace '^http://[^/]+') $found
    }
    if ($answers) { Add-Identity $answer.Text }
}

# By curl.exe, which Windows has since 10 1803 and Server 2019.
function Add-TryByCurl($plain, $wire, $plugin) {
    $answer, $left = (Receive-ByCurl $plain $InstancePath 'Metadata: true'), 2 # at most 3 requests a second
    Add-TryRecord 1 $plain $InstancePath $answer
    Add-TryRecord 1 $wire '/?comp=versions' (Receive-ByCurl $wire '/?comp=versions' 'Accept: */*')
    [void](Receive-ByCurl $plugin '/' 'Accept: */*')
    Add-TryRecord 1 $plugin
    Set-Check $plain $wire $plugin $answer
    foreach ($place in Get-TrialPlace) {
        if ($Notes.Metadata.Status -eq 'ok' -or -not $left--) { break }
        $answer = Receive-ByCurl $place $InstancePath 'Metadata: true'
        Add-TryRecord 1 $place $InstancePath $answer
        if (Set-Proof $place $answer) { break }
    }
}

# As Connect-Place and Receive-Answer.
function Receive-ByCurl($place, $target, $header) {
    $ErrorActionPreference = 'Continue'
    $options = '-qsvi', '--raw', '--noproxy', '*', '--connect-timeout', $ConnectSeconds, '--max-time', (Get-Left $AnswerSeconds),
        '--max-filesize', $AnswerLimit, '-w', '\n%{local_ip} %{time_connect} %{time_total}', '-H', $header
    if ($place.Source) { $options += '--interface', $place.Source }
    $log, $lines = '', @()
    foreach ($line in & "$System\curl.exe" $options "http://$($place.Address):$($place.Port)$target" 2>&1) {
        if ($line -is [string]) { $lines += $line.TrimEnd("`r") } else { $log += "$line`n" }
    }
    $status = $LASTEXITCODE
    $place.Local, $place.Seconds, $took = '', $ConnectSeconds, 0
    if ($lines -and $lines[-1] -match "^${Ip}? ?(\d+)[.,](\d+) (\d+)[.,](\d+)$") {
        $place.Local, $place.Seconds, $took = "$($Matches[1])", [double]"$($Matches[2]).$($Matches[3])", [double]"$($Matches[4]).$($Matches[5])"
    }
    $place.Code = 0
    if ($log -notmatch '(?m)^\* (Established connection|Connected) to') {
        $place.Code = if ($status -eq 28) { -1 } elseif ($log -match '(?m) failed: (.{1,60}?)\r?$') { "curl $($Matches[1])" } else { "curl $status" }
        return
    }
    $ended = switch ($status) { 0 { 'whole' } 28 { 'timeout' } 63 { 'endless' } 52 { 'closed' } 18 { 'closed' } default { 10054 } }
    $text = ($lines | Select-First ($lines.Count - 1)) -join "`r`n"
    return @{ Text = $text; Ended = $ended; Seconds = $took; At = '{0:s}Z' -f [DateTime]::UtcNow }
}

function Set-Check($plain, $wire, $plugin, $answer) {
    $Notes.Code = $plain.Code
    $Notes.Reachable = Get-TryCheck $plain
    $Notes.Metadata = if ($answer) { Get-AnswerCheck $answer } else { @{ Status = 'skip'; Text = 'no answer' } }
    $Notes.WireServer = @{ Text = "port 80 $((Get-TryCheck $wire).Text); port 32526 $((Get-TryCheck $plugin).Text)"
        Status = if ($wire.Code -eq 0 -and $plugin.Code -eq 0) { 'ok' } else { 'fail' } }
}

function Set-Proof($place, $answer) {
    if (-not $answer -or (Get-AnswerCheck $answer).Status -ne 'ok') { return $false }
    $Notes.Proof = Get-Detail " It answers when asked from $($place.Source)."
    $true
}

function Get-TrialPlace { for ($at = 0; $at -lt $LocalAddresses.Count; $at++) { Get-Place trial $Imds 80 $LocalAddresses[$at] } }

function Get-TryCheck($place) {
    if ($place.Code -eq 0) { return @{ Status = 'ok'; Text = "connected$(Get-Detail " from $($place.Local)")" } }
    $text = if ($place.Code -eq -1) { "timed out after $(Get-Rounded $place.Seconds '0.#') s" } else { Get-Meaning $place.Code }
    if (-not $text) { $text = "failed: error $($place.Code)" }
    return @{ Status = 'fail'; Text = $text }
}

function Get-AnswerCheck($answer) {
    if ($answer.Text -notmatch '^HTTP/1\.[01] (\d{3})') { return @{ Status = 'fail'; Text = "no HTTP answer ($($answer.Ended))" } }
    $status = $Matches[1]
    if ($status -eq 200 -and $answer.Ended -in 'whole', 'closed' -and $answer.Text -match '"vmId"\s*:\s*"([0-9A-Fa-f-]{36})"') {
        return @{ Status = 'ok'; Text = "HTTP 200$(Get-Detail ", vmId $($Matches[1])")" }
    }
    return @{ Status = 'fail'; Text = "HTTP $status, $($answer.Text.Length) bytes ($($answer.Ended)): not the metadata of a VM" }
}

function Get-ProxyPlace {
    foreach ($server in $Notes.Proxies | Select-First 4) {
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

# The attested document and the managed identity. $text: IMDS's answer.
function Add-Identity([string]$text) {
    $nonce = -join ([Guid]::NewGuid().ToByteArray() | Select-First 10 | ForEach-Object { $_ % 10 })
    foreach ($key in 'attested', 'identity') {
        $rank, $place, $path = 1, (Get-Place $key $Imds 80), "/metadata/attested/document?api-version=$ApiVersion&nonce=$nonce"
        if ($key -eq 'identity') { $rank, $path = 12, "/metadata/identity/info?api-version=$ApiVersion" }
        Connect-Place @($place)
        $answer = Receive-Answer $place $path
        Add-TryRecord $rank $place $path $answer
        if ($rank -eq 1 -and $answer -and $answer.Text -match '"signature"\s*:\s*"([A-Za-z0-9+/=\\]{1,60000})"') {
            $document = try { [Convert]::FromBase64String($Matches[1].Replace('\/', '/')) } catch { }
            $at = if ($text -match '(?im)^Date: ([^\r\n]{10,40})') { $Matches[1] }
            if ($document) { Invoke-Part 'certificate_chains' { Add-Chain $document $nonce $at } }
            $Notes.Part = 'imds'
        }
    }
}

# There is room for the signer's certificate alone: zeros stand for the others.
function Add-Document([byte[]]$document, [string]$nonce, $held) {
    $text, $blank = $Latin.GetString($document), @()
    foreach ($item in $held) {
        if (-not @($held | Where-Object { $_.Issuer -eq $item.Subject -and $_.Subject -ne $item.Subject })) { continue }
        $own = $Latin.GetString($item.RawData)
        $text = $text.Replace($own, $own.Substring(0, 4) + "`0" * ($own.Length - 4))
        $blank += $item.Thumbprint
    }
    $Notes.Part = 'document'
    Add-Record 1 (@('document', $nonce, [BitConverter]::ToString($Latin.GetBytes($text)).Replace('-', '')) + $blank)
    $Notes.Part = 'certificate_chains'
}

# The chains that Windows builds: from what is at hand, else by fetching.
function Add-Chain([byte[]]$document, [string]$nonce, [string]$date) {
    $held = [Security.Cryptography.X509Certificates.X509Certificate2Collection]::new()
    try { $held.Import($document) } finally { Add-Document $document $nonce $held }
    $leaf = $held[0]
    foreach ($item in $held) { if (-not @($held | Where-Object { $_.Issuer -eq $item.Subject })) { $leaf = $item; break } }
    $known = @()
    foreach ($way in 'hand', 'net') {
        $chain = [Security.Cryptography.X509Certificates.X509Chain]::new($true) # the machine's
        $policy = $chain.ChainPolicy
        # Offline keeps .NET Framework from fetching
        $policy.RevocationMode = if ($way -eq 'hand') { 'Offline' } else { 'NoCheck' }
        if ($PSVersionTable.PSVersion -ge [Version]'7.2') { $policy.DisableCertificateDownloads = $way -eq 'hand' }
        $policy.UrlRetrievalTimeout = [TimeSpan]::FromSeconds(1.5)
        if ($date) { try { $policy.VerificationTime = [DateTime]::Parse($date, $Invariant) } catch { } }
        foreach ($item in $held) { [void]$policy.ExtraStore.Add($item) }
        [void]$chain.Build($leaf)
        $all = 0
        foreach ($status in $chain.ChainStatus) { $all = $all -bor [int]$status.Status }
        $fields = @('chain', $way, $all)
        foreach ($element in $chain.ChainElements) {
            $flags, $item = 0, $element.Certificate
            foreach ($status in $element.ChainElementStatus) { $flags = $flags -bor [int]$status.Status }
            $begins, $ends = $item.NotBefore, $item.NotAfter | ForEach-Object { '{0:s}Z' -f $_.ToUniversalTime() }
            $shown = if ($way -eq 'net' -and $known -contains $item.Thumbprint) { '', '', '', '' } else { $item.Subject, $item.Issuer, $begins, $ends }
            $fields += @($flags, $item.Thumbprint) + $shown
            if ($way -eq 'hand') {
                $known += $item.Thumbprint
                Add-Store $item.Thumbprint
                $rank = if ($item.Thumbprint -eq $leaf.Thumbprint) { 11 } else { 12 }
                foreach ($extension in $item.Extensions | Where-Object { $_.Oid.Value -in '2.5.29.17', '1.3.6.1.5.5.7.1.1' }) {
                    Add-Record $rank 'extension', $item.Thumbprint, $extension.Oid.Value, ([Convert]::ToBase64String($extension.RawData))
                }
            }
        }
        Add-Record 9 $fields
        if (-not ($all -band 0x10020)) { break } # PartialChain, UntrustedRoot: fetching may help
    }
}

# The stores that have a certificate.
function Add-Store([string]$thumbprint) {
    $own = 'SOFTWARE\Microsoft\SystemCertificates'
    $places = @("HKLM\$own", 'HKLM\SOFTWARE\Policies\Microsoft\SystemCertificates', 'HKLM\SOFTWARE\Microsoft\EnterpriseCertificates') +
        @(Get-Account | ForEach-Object { "HKU\$_\$own" })
    foreach ($place in $places) {
        foreach ($store in 'Root', 'AuthRoot', 'CA', 'Disallowed') {
            $path = "$place\$store\Certificates\$thumbprint"
            if (Open-Key $path) { Add-Record 10 (@('key') + ($path -split '\\', 2)) }
        }
    }
}

# NICs that are hardware, and disabled ones, which nothing else lists.
function Add-Device {
    $class = '{4D36E972-E325-11CE-BFC1-08002BE10318}'
    foreach ($number in @(Get-SubKey "$Control\Class\$class") -match '^\d{4}$' | Select-First 200) {
        $device = Get-KeyTable "$Control\Class\$class\$number"
        $id, $traits = $device['NetCfgInstanceId'], $device['Characteristics']
        if (-not $id -or -not ([int]$traits -band 4)) { continue } # NCF_PHYSICAL
        $connection = Get-KeyTable "$Control\Network\$class\$id\Connection"
        $instance = $connection['PnpInstanceID']
        $flags = if ($instance) { (Get-KeyTable "HKLM\SYSTEM\CurrentControlSet\Enum\$instance")['ConfigFlags'] }
        Add-Record 3 'device', $id, $connection['Name'], $device['DriverDesc'], $device['*IfType'], $traits, $instance, $flags
        Add-Lease 3 $id
    }
}

function Add-Lease($rank, [string]$id) {
    if ($Notes.Leases[$id]) { return }
    $Notes.Leases[$id] = $true
    Add-Key $rank "$Services\Tcpip\Parameters\Interfaces\$id" 'EnableDHCP', 'DhcpIPAddress', 'DhcpServer', 'DhcpDefaultGateway'
}

function Add-Adapter {
    foreach ($nic in [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()) {
        $properties, $kind, $rank = $nic.GetIPProperties(), [int]$nic.NetworkInterfaceType, 12
        try { $own = $properties.GetIPv4Properties(); $index = $own.Index } catch { continue } # it has no IPv4
        $held = @($properties.UnicastAddresses | ForEach-Object { "$($_.Address)/$($_.PrefixLength)/$([int]$_.SuffixOrigin)/$([int]$_.DuplicateAddressDetectionState)" }) -notmatch ':'
        $gateways = @($properties.GatewayAddresses | ForEach-Object { "$($_.Address)" }) -notmatch ':'
        $servers = @($properties.DhcpServerAddresses) -notmatch ':'
        $dhcp = try { [int]$own.IsDhcpEnabled } catch { '' }
        $mac, $status = "$($nic.GetPhysicalAddress())", $nic.OperationalStatus
        if ($held -and $kind -ne 24) { $rank = 3 } # 24: loopback
        Add-Record $rank 'adapter', $index, $nic.Id, $nic.Name, $nic.Description, $kind, $mac, ([int]$status), "$held", "$gateways", "$servers", $dhcp
        Add-Lease $rank $nic.Id
        if ($kind -eq 24 -or $kind -eq 131) { continue }
        if ("$status" -ne 'Down') { foreach ($item in $held) { $LocalAddresses[$LocalAddresses.Count] = $item.Split('/')[0] } }
        $addresses = if ($held) { ($held -replace '/\d+/\d+$') -join ', ' } else { 'no address' }
        $line = "  $index `"$($nic.Name)`"  $($mac -replace '(..)(?!$)', '$1-')  $("$status".ToLowerInvariant())  $addresses"
        if ($servers) { $line += "  dhcp $($servers[0])" }
        if ($gateways) { $line += "  gateway $($gateways[0])" }
        $Notes.Adapters += $line
    }
}

# The lines of route print and netsh that have a number.
function Add-AdapterByTool {
    $nics = @($Notes.RoutePrint -split '\r?\n' -match '^ *\d+\.{3}')
    $Notes.Adapters = @($nics -match '(..)( ..){5}' -replace '^ *', '  ')
    $held = @((Invoke-Tool netsh 'interface', 'ipv4', 'show', 'ipaddresses') -split '\r?\n' -match '\d')
    Add-Record 2 'listed', (($nics + $held) -replace '\s+', ' ' -join "`n") # in one: a part would mislead
    foreach ($row in Get-RouteRow) {
        if ($row[3] -notlike '127.*' -and $LocalAddresses.Values -notcontains $row[3]) { $LocalAddresses[$LocalAddresses.Count] = $row[3] }
    }
}

function Add-Route {
    $Notes.RoutePrint = Invoke-Tool route 'print', '-4'
    $Notes.Routes = @(Get-RouteRow)
    foreach ($row in $Notes.Routes) { Add-Record $(if (Get-Led $row) { 2 } else { 12 }) (@('route') + $row) }
    Add-Key 2 "$Services\Tcpip\Parameters\PersistentRoutes"
}

function Get-Account { @(Get-SubKey HKU) -match '^(S-1-.*(?<!_Classes)|\.DEFAULT)$' | Select-First 500 }

# The source that a connected UDP socket chooses (it sends nothing), or its error.
function Add-Source {
    foreach ($address in $Imds, $WireServer) {
        $socket, $chosen, $code = [Net.Sockets.Socket]::new('InterNetwork', 'Dgram', 'Udp'), '', ''
        try { $socket.Connect([Net.IPAddress]$address, 9); $chosen = "$($socket.LocalEndPoint.Address)" }
        catch { $code = Get-SocketError $_.Exception }
        finally { $socket.Close() }
        Add-Record 4 'source', $address, $chosen, $code
        if ($address -eq $Imds) { $Notes.Source = if ($chosen) { "  What goes to $Imds is sent from $chosen" } else { "  Nothing can be sent to ${Imds}: $(Get-Meaning $code)" } }
    }
}

function Add-Neighbour {
    $on = ''
    foreach ($line in (Invoke-Tool arp '-a', '-v') -split '\r?\n') {
        if ($line -match "^\S.*?$Ip.*?(0x[0-9a-f]+)") { $on = [int]$Matches[2] }
        elseif ($line -match "^\s+$Ip\s+((?:[0-9a-f]{2}-){5}[0-9a-f]{2}|)\s+(\S+)") { Add-Record 8 'neighbour', $on, $Matches[1], $Matches[2], $Matches[3] }
    }
}

# Addresses with SkipAsSource: netsh says yes or no in Windows' language; 127.0.0.1 has the word for no.
function Add-Skipped {
    $printed = Invoke-Tool netsh 'interface', 'ipv4', 'show', 'ipaddresses', 'level=verbose'
    $listed = [regex]::Matches($printed, "(?m)^\S.*?$Ip.*\r?\n-+\r?\n(?:.*\S.*\r?\n)*?.*: *([^ \r\n]+) *\r?(?:\n\s*\r?\n|\n?\z)")
    if (-not $listed.Count) { throw 'netsh lists no address' }
    foreach ($match in $listed) { Add-Record 4 'skip', $match.Groups[1].Value, $match.Groups[2].Value }
}

function Add-ProxySetting {
    $settings = 'Microsoft\Windows\CurrentVersion\Internet Settings'
    $names = 'ProxyEnable', 'ProxyServer', 'ProxyOverride', 'AutoConfigURL', 'AutoDetect'
    $variables = 'http_proxy', 'all_proxy', 'no_proxy'
    Add-Key 5 "HKLM\Software\$settings\Connections" 'WinHttpSettings', 'DefaultConnectionSettings'
    Add-Key 5 "HKLM\Software\$settings" $names
    Add-Key 5 "HKLM\Software\Policies\$settings" 'ProxySettingsPerUser'
    Add-Key 5 "$Control\Session Manager\Environment" $variables
    foreach ($sid in Get-Account) {
        $before = $Records.Count
        Add-Key 5 "HKU\$sid\Software\$settings" $names
        Add-Key 5 "HKU\$sid\Software\$settings\Connections" 'DefaultConnectionSettings'
        Add-Key 5 "HKU\$sid\Environment" $variables
        if ($Records.Count -gt $before) { Add-Key 5 "$WindowsNT\ProfileList\$sid" 'ProfileImagePath' }
    }
    $own = @{ http_proxy = $env:http_proxy; all_proxy = $env:all_proxy; no_proxy = $env:no_proxy }
    foreach ($name in $variables) {
        if ($own[$name]) { Add-Record 5 'variable', $name, (Hide-Secret $own[$name]); Find-Proxy $own[$name] }
    }
}

function Find-Proxy([string]$text) {
    if ($text.Length -gt $RecordLimit) { return }
    foreach ($match in [regex]::Matches((Hide-Secret $text), '(?i)(?:^|[;\s\x00-\x1F]|http=|http://|@)((?!\d+:)[a-z0-9_][\w.-]{0,252}):(\d{1,5})(?!\d)')) {
        $server = "$($match.Groups[1].Value):$($match.Groups[2].Value)"
        if ($Notes.Proxies -notcontains $server -and [int]$match.Groups[2].Value -lt 65536) { $Notes.Proxies += $server }
    }
}

function Add-Firewall {
    $local, $policy = "$Services\SharedAccess\Parameters\FirewallPolicy", 'HKLM\SOFTWARE\Policies\Microsoft\WindowsFirewall'
    $first, $blocks = $Records.Count, $false # what no rule allows: then those that allow matter too
    foreach ($root in $local, $policy, "$local\Mdm") {
        foreach ($profile in 'Domain', 'Private', 'Public', 'Standard') { Add-Key 6 "$root\${profile}Profile" 'EnableFirewall', 'DefaultOutboundAction', 'AllowLocalPolicyMerge' }
    }
    for ($at = $first; $at -lt $Records.Count; $at++) { if ($Records[$at].Line -match 'DefaultOutboundAction\t\w+\t1(\t|$)') { $blocks = $true } }
    # New-Object would need a module
    try { Add-Record 6 'profiles', ([Activator]::CreateInstance([Type]::GetTypeFromProgID('HNetCfg.FwPolicy2'))).CurrentProfileTypes }
    catch { Add-Record 6 'profiles', '', "INetFwPolicy2: $(Get-Reason $_.Exception)" }
    foreach ($name in Get-SubKey "$WindowsNT\NetworkList\Profiles" | Select-First 100) { Add-Key 6 "$WindowsNT\NetworkList\Profiles\$name" 'Category' }
    $restricted = "$local\RestrictedServices"
    foreach ($store in "$local\FirewallRules", "$policy\FirewallRules", "$local\Mdm\FirewallRules", "$restricted\Static\System", "$restricted\Configurable\System", "$restricted\AppIso\FirewallRules") {
        $read, $left, $path = 0, 0, $store.Substring(5)
        foreach ($item in Get-KeyValue $store) {
            $read++
            $value = $item.Value
            $rank, $limit = 7, $RuleLimit
            if ($value.Contains($Imds) -or $value.Contains($WireServer)) { $rank, $limit = 6, 1200 }
            $matters = [DateTime]::UtcNow -lt $CollectUntil -and $read - $left -le $limit -and $value.Length -lt 16384 -and $value -match '\|Dir=Out\|' -and $value -notmatch '\|Active=FALSE\||\|Protocol=(?!6\||256\|)\d+\|' -and
                ($blocks -or $value -notmatch '\|Action=Allow\|' -or $value -match '\|AuthByPassOut=')
            if (-not $matters) { $left++; continue }
            $value = $value -replace '\|(Desc|EmbedCtxt)=[^|]*'
            if ($value -match '\|Name=([^|]+)') { $value = $value.Replace($Matches[1], (Hide-Word $Matches[1])) }
            Add-Record $rank 'rule', $path, $item.Name, $value
        }
        if ($read) { Add-Record 5 'rules', $path, $read, $left }
    }
}

# Filters that may have forbidden the connect to IMDS.
function Add-Filter {
    if ($Notes.Code -ne 10013) { return }
    $printed = Invoke-Tool netsh 'wfp', 'show', 'filters', 'file=-', 'protocol=6', "remoteaddr=$Imds", 'remoteport=80', 'dir=out', 'verbose=on'
    $parts = @($printed -split '(?=<item>\s*<filterKey>)' | Where-Object { $_ -match '^<item>' })
    if (-not $parts) { throw 'netsh wfp show filters printed none' }
    foreach ($part in $parts) {
        if ($part -notmatch 'FWP_ACTION_BLOCK') { continue }
        Add-Record 7 'filter', ($part.Substring(0, $part.LastIndexOf('</item>') + 7) -replace '>\s+<', '><')
    }
}

function Add-Machine {
    Add-Key 7 $WindowsNT 'ProductName', 'DisplayVersion', 'ReleaseId', 'EditionID', 'CurrentBuildNumber', 'CurrentBuild', 'UBR'
    Add-Key 7 "$Services\mssmbios\Data" 'SMBiosData'
    $elevated = if ($Constrained) { if ((Invoke-Tool whoami '/groups') -match 'S-1-16-(\d+)') { [int]$Matches[1] -ge 12288 } } # high
    else { ([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()).IsInRole(544) } # Administrators
    if ($null -ne $elevated) { Add-Record 7 'elevated', ([int]$elevated) }
    Add-Record 12 'variable', 'PROCESSOR_ARCHITECTURE', $env:PROCESSOR_ARCHITECTURE
}

function Add-Service {
    foreach ($name in 'WindowsAzureGuestAgent', 'RdAgent', 'GuestProxyAgent', 'himds', 'Dhcp', 'BFE', 'MpsSvc', 'W32Time') {
        $start = (Get-KeyTable "$Services\$name")['Start']
        if ($null -eq $start) { continue }
        $state = if ((Invoke-Tool sc 'query', $name) -match '(?m)^[^:\n]+:\s+(\d)\s+[A-Z_]+') { $Matches[1] } # TYPE has two digits
        Add-Record 7 'service', $name, $state, $start
    }
}

# Who listens on ports that matter, or has a connection to IMDS.
function Add-TcpRow {
    $printed = Invoke-Tool netstat '-ano', '-p', 'TCP'
    foreach ($match in [regex]::Matches($printed, "(?m)^\s*TCP\s+${Ip}:(\d+)\s+${Ip}:(\d+)\s+(\S.*?)\s+(\d+)\s*$")) {
        $local, $port, $remote, $remotePort, $state, $id = 1..6 | ForEach-Object { $match.Groups[$_].Value }
        if (($remotePort -eq '0' -and $port -in '80', '3080') -or $remote -eq $Imds) {
            $program = try { "$([Diagnostics.Process]::GetProcessById([int]$id).ProcessName).exe" } catch { '' }
            Add-Record 12 'tcp', $state, $local, $port, $remote, $remotePort, $id, $program
        }
    }
}

function Get-KeyTable([string]$path) {
    $found = @{}
    foreach ($item in Get-KeyValue $path) { $found[$item.Name] = $item.Value }
    $found
}

# As the registry has them, or as reg.exe prints them.
function Get-KeyValue([string]$path) {
    if ($Constrained) {
        foreach ($match in [regex]::Matches((Invoke-Tool reg 'query', $path), '(?m)^    (\S.*?)    (REG_\w+)(?:    (.*?))?\r?$')) {
            $name, $kind, $value = 1..3 | ForEach-Object { $match.Groups[$_].Value }
            if ($kind -eq 'REG_DWORD') { $value = "$([long]$value)" }
            @{ Name = $name; Kind = $kind; Value = $value }
        }
        return
    }
    $key = Open-Key $path
    if (-not $key) { return }
    foreach ($name in $key.GetValueNames()) {
        $value = $key.GetValue($name, $null, 'DoNotExpandEnvironmentNames')
        if ($value -is [byte[]]) { $value = [Convert]::ToBase64String($value) }
        elseif ($value -is [string[]]) { $value = $value -join "`0" }
        @{ Name = $name; Kind = "$($key.GetValueKind($name))"; Value = "$value" }
    }
    $key.Close()
}

function Get-SubKey([string]$path) {
    if ($Constrained) { foreach ($match in [regex]::Matches((Invoke-Tool reg 'query', $path), '(?m)^HKEY_\S.*\\([^\\\r\n]+?)\r?$')) { $match.Groups[1].Value } }
    else {
        $key = Open-Key $path
        if ($key) { $key.GetSubKeyNames() }
    }
}

# $null, and a record, where it may not be opened.
function Open-Key([string]$path) {
    $root, $below = $path -split '\\', 2
    $hive = if ($root -eq 'HKU') { [Microsoft.Win32.Registry]::Users } else { [Microsoft.Win32.Registry]::LocalMachine }
    try { $hive.OpenSubKey("$below") } catch { Add-Record 6 'nokey', $root, $below, (Get-Reason $_.Exception) }
}

function Add-Key($rank, [string]$path, [string[]]$names) {
    $fields = @('key') + ($path -split '\\', 2)
    try { $values = @(Get-KeyValue $path | Where-Object { -not $names -or $names -contains $_.Name } | Select-First 500) }
    catch { $fields[0] = 'nokey'; return Add-Record $rank ($fields + (Get-Reason $_.Exception)) }
    foreach ($item in $values) {
        $value = $item.Value
        if ($item.Kind -match 'String|SZ|Word') {
            if ($item.Name -in 'ProxyServer', 'http_proxy', 'all_proxy') { Find-Proxy $value }
            $value = Hide-Secret $value
        }
        elseif ($item.Name -match 'Settings$') {
            $text = Get-Text $value
            Find-Proxy $text
            $value = Get-Binary (Hide-Secret $text)
        }
        elseif ($item.Name -ne 'SMBiosData') { $value = '' } # no other one is read
        $fields += $item.Name, $item.Kind, $value
    }
    if ($values) { Add-Record $rank $fields }
}

# A binary value (base64; of reg.exe: hexadecimal) as text (Latin-1), and back.
function Get-Text([string]$value) {
    if (-not $Constrained) { return $Latin.GetString([Convert]::FromBase64String($value)) }
    -join $(for ($at = 0; $at + 1 -lt $value.Length; $at += 2) { [char][int]"0x$($value.Substring($at, 2))" })
}

function Get-Binary([string]$text) {
    if (-not $Constrained) { return [Convert]::ToBase64String($Latin.GetBytes($text)) }
    -join $(foreach ($character in $text.ToCharArray()) { '{0:x2}' -f [int]$character })
}

function Select-First([int]$count) { begin { $at = 0 } process { if ($at++ -lt $count) { $_ } } }

# What fits into so many bytes, by rank; and how many records of each part do not.
function Get-Block([string]$name, [hashtable]$from, [int]$room) {
    $room = [int](($room - 60) * 110 / 114) # for first and last line, indents, line ends
    $sorted = @(foreach ($rank in 1..12) { for ($at = 0; $at -lt $from.Count; $at++) { if ($from[$at].Rank -eq $rank) { $from[$at] } } })
    $chosen, $at, $step, $missed, $packed = @(), 0, 64, 0, (Get-Packed $sorted @())
    while ($at -lt $sorted.Count -and $missed -lt 40) { # what is too large is passed over
        $more = $chosen + @($sorted[$at..($at + $step - 1)])
        $tried = Get-Packed $sorted $more
        if ($tried.Length -le $room) { $chosen, $packed, $at = $more, $tried, ($at + $step) }
        elseif ($step -gt 1) { $step = $step -shr 1 }
        else { $at++; $missed++ }
    }
    "$name $(if ($Constrained) { 2 } else { 1 }) $($packed.Length) $(Get-Checksum $packed)"
    for ($at = 0; $at -lt $packed.Length; $at += 110) { '  ' + (Get-Start $packed.Substring($at) 110) }
    "$name END"
}

# The beginning of SHA-256, or Adler-32 (RFC 1950).
function Get-Checksum([string]$text) {
    if (-not $Constrained) { return (Get-Sha256 ([IO.MemoryStream]::new($Latin.GetBytes($text)))).Substring(0, 8) }
    $low, $high = 1, 0
    foreach ($character in $text.ToCharArray()) { $low = ($low + [int]$character) % 65521; $high = ($high + $low) % 65521 }
    '{0:x4}{1:x4}' -f $high, $low
}

# Compressed, or (ConstrainedLanguage) with signs for what may not stand in a block.
function Get-Packed([object[]]$all, [object[]]$chosen) {
    $lines, $left = @(), @{}
    foreach ($record in $all) { $left[$record.Part]++ }
    $lines = @(foreach ($record in $chosen) { if ($record.Fits) { $record.Line; $left[$record.Part]-- } }) +
        @(foreach ($part in $left.Keys) { if ($left[$part]) { "left`t$part`t$($left[$part])" } })
    if ($Constrained) {
        $text = @(foreach ($line in $lines) { [uri]::EscapeDataString((Get-Start $line 16000)) }) -join ','
        foreach ($pair in '%09 +', '%20 =', '%5C%5C /', '%2F :', '%3A ;', '%22 |', '%2C #', '%7B [', '%7D ]', '%3C {', '%3E }') {
            $text = $text.Replace($pair.Split(' ')[0], $pair.Split(' ')[1])
        }
        return $text
    }
    $bytes, $memory = [Text.Encoding]::UTF8.GetBytes($lines -join "`n"), [IO.MemoryStream]::new()
    $deflate = [IO.Compression.DeflateStream]::new($memory, [IO.Compression.CompressionLevel]::Optimal, $true)
    $deflate.Write($bytes, 0, $bytes.Length)
    $deflate.Dispose()
    [Convert]::ToBase64String($memory.ToArray())
}

function Get-Reason($exception) {
    if ($Constrained) { return (Get-Start ($exception.Message -replace '\s+', ' ') 120).Trim(' .') }
    for ($inner = $exception; $inner; $inner = $inner.InnerException) {
        $last, $number = $inner, 0
        if ($inner -is [ComponentModel.Win32Exception]) { $number = $inner.NativeErrorCode }
        elseif ('{0:X8}' -f $inner.HResult -like '8007*') { $number = $inner.HResult -band 0xFFFF } # FACILITY_WIN32
        if ($inner -is [Security.Authentication.AuthenticationException] -or '{0:X8}' -f $number -like '8009*') { # FACILITY_SSPI
            return 'no TLS: this VM does not trust the certificate, or its clock is wrong'
        }
        $meaning = Get-Meaning $number
        if ($meaning) { return $meaning }
    }
    # The text of an error of Windows may name anything.
    if ($Redact -and $last -isnot [Management.Automation.RuntimeException]) { return $last.GetType().Name }
    return $last.Message.Trim(' .')
}

# An error of Windows or of its sockets (winerror.h).
function Get-Meaning([string]$number) {
    switch -regex ($number) {
        '^[23]$' { 'there is no such file' }
        '^(5|1307|1314)$' { 'access is denied: run this as SYSTEM or elevated, and look for an antivirus' }
        '^3[23]$' { 'another program, often an antivirus, keeps the file locked: run this again' }
        '^(39|112)$' { 'the disk is full: free 20 MB on the system drive' }
        '^(193|216)$' { 'this Windows cannot run it: it needs 64-bit Windows 10 or Server 2016' }
        '^22[56]$' { "an antivirus takes it for harmful: allow the SHA-256 $ExeSha256 there" }
        '^(577|1260|45[5-8]\d)$' { "a policy (AppLocker, App Control) forbids it: allow the SHA-256 $ExeSha256 there" }
        '^10013$|Bad access' { 'forbidden on this VM, as by a firewall rule' }
        '^100(51|65)$|nreachable' { 'no way leads there from this VM' }
        '^1005[34]$' { 'the connection was cut' }
        '^10060$|Timed out' { 'no answer in time' }
        '^10061$|refused' { 'the connection was refused' }
        '^1100[1-4]$' { 'the name cannot be resolved: it is wrong, or no DNS server answers' }
    }
}

# --- run ---

$Began, $Ending = [DateTime]::UtcNow, @{ Code = 3 }
$Notes = @{ Part = ''; Done = @(); Proxies = @(); Proof = ''; Routes = @(); Adapters = @(); Source = @(); Code = 0; Leases = @{}; RoutePrint = ''; Asked = $Began }
$Records, $Documents, $LocalAddresses = @{}, @{}, @{}
$Constrained = "$($ExecutionContext.SessionState.LanguageMode)" -ne 'FullLanguage'
if (-not $Constrained) { $Latin = [Text.Encoding]::GetEncoding(28591) }
$Invariant = [Globalization.CultureInfo]::InvariantCulture
$System = [Environment]::SystemDirectory
$IsFramework = $PSVersionTable.PSVersion.Major -lt 6 # Windows PowerShell
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
