# Prints the syntax tree of a PowerShell script as JSON. A node is {"kind", "line", its properties...}.
param([string]$path, [string]$out)

$Left = 'Parent', 'Extent', 'StaticType', 'ErrorPosition', 'IsConstant', 'ScriptRequirements', 'Attributes', 'UsingStatements'
$Builder = [Text.StringBuilder]::new()
$Properties = @{}

function Write-Text([string]$text) {
    [void]$Builder.Append('"').Append([Text.Json.JsonEncodedText]::Encode($text).ToString()).Append('"')
}

function Write-Value($value) {
    if ($null -eq $value) { [void]$Builder.Append('null') }
    elseif ($value -is [Management.Automation.Language.Ast]) { Write-Node $value }
    elseif ($value -is [bool]) { [void]$Builder.Append("$value".ToLowerInvariant()) }
    elseif ($value -is [int] -or $value -is [long]) { [void]$Builder.Append("$value") }
    elseif ($value -is [Management.Automation.VariablePath]) { Write-Text $value.UserPath }
    elseif ($value -is [Management.Automation.Language.ITypeName]) { Write-Text $value.FullName }
    elseif ($value -is [Runtime.CompilerServices.ITuple]) {
        [void]$Builder.Append('[')
        for ($at = 0; $at -lt $value.Length; $at++) {
            if ($at) { [void]$Builder.Append(',') }
            Write-Value $value.Item($at)
        }
        [void]$Builder.Append(']')
    }
    elseif ($value -is [Collections.IEnumerable] -and $value -isnot [string]) {
        [void]$Builder.Append('[')
        $first = $true
        foreach ($item in $value) {
            if (-not $first) { [void]$Builder.Append(',') }
            $first = $false
            Write-Value $item
        }
        [void]$Builder.Append(']')
    }
    else { Write-Text "$value" }
}

function Write-Node($node) {
    $kind = $node.GetType()
    if (-not $Properties.ContainsKey($kind)) {
        $Properties[$kind] = @($kind.GetProperties() | ForEach-Object { $_.Name } | Where-Object { $Left -notcontains $_ })
    }
    [void]$Builder.Append('{"kind":"').Append($kind.Name -replace 'Ast$').Append('","line":')
    [void]$Builder.Append($node.Extent.StartLineNumber)
    foreach ($name in $Properties[$kind]) {
        [void]$Builder.Append(',"').Append($name).Append('":')
        Write-Value $node.$name
    }
    if ($node -is [Management.Automation.Language.VariableExpressionAst] -or $node -is [Management.Automation.Language.SubExpressionAst]) {
        [void]$Builder.Append(',"text":')
        Write-Text $node.Extent.Text
    }
    if ($node -is [Management.Automation.Language.ParameterAst]) {
        [void]$Builder.Append(',"Types":')
        Write-Value @($node.Attributes | Where-Object { $_ -is [Management.Automation.Language.TypeConstraintAst] } | ForEach-Object { $_.TypeName.FullName })
    }
    if ($node -is [Management.Automation.Language.AttributedExpressionAst]) {
        [void]$Builder.Append(',"Type":')
        Write-Text $node.Attribute.TypeName.FullName
    }
    [void]$Builder.Append('}')
}

$tokens = $errors = $null
$tree = [Management.Automation.Language.Parser]::ParseFile($path, [ref]$tokens, [ref]$errors)
if ($errors) { throw "$($errors[0].Message) at line $($errors[0].Extent.StartLineNumber)" }
Write-Node $tree
[IO.File]::WriteAllText($out, $Builder.ToString())
