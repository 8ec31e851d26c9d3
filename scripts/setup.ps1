# Sourced by run_demo.ps1 and run_tests.ps1: the same steps as scripts/setup.sh, which says why.
#
# Initialize-Venv demo|test     afterwards $Python is the interpreter of .venv

$ErrorActionPreference = 'Stop'
$Oldest = '3.11'
foreach ($name in 'PYTHONPATH', 'PYTHONHOME', 'PYTHONSTARTUP', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT') {
    Remove-Item "Env:$name" -ErrorAction SilentlyContinue
}
$env:PIP_USER = '0'

$Checkout = Split-Path -Parent $PSScriptRoot
$Venv = Join-Path $Checkout '.venv'
$Python = if ($IsLinux -or $IsMacOS) { Join-Path $Venv 'bin/python' } else { Join-Path $Venv 'Scripts\python.exe' }

function Stop-WithError([string] $Fact, [string] $Hint) {
    [Console]::Error.WriteLine("error: $Fact")
    [Console]::Error.WriteLine("hint: $Hint")
    exit 1
}

function Invoke-Quietly([string] $Program, [string[]] $Arguments) {
    # Windows PowerShell turns what a program writes to stderr into errors
    $ErrorActionPreference = 'Continue'
    try { $output = & $Program @Arguments 2>&1 | Out-String } catch { return @{ Code = 127; Output = "$_" } }
    return @{ Code = $LASTEXITCODE; Output = $output }
}

function Test-Python([string] $Program) {
    $code = "import sys; print(sys.version_info >= ($($Oldest -replace '\.', ', ')))"
    return (Invoke-Quietly $Program @('-I', '-S', '-c', $code)).Output.Trim() -eq 'True'
}

function Get-Stamp {
    $text = (Get-Content -Raw (Join-Path $Checkout 'pyproject.toml')) + $Checkout
    $bytes = [Text.Encoding]::UTF8.GetBytes($text)
    $digest = [Security.Cryptography.SHA256]::Create().ComputeHash($bytes)
    return 'offpipe-' + [BitConverter]::ToString($digest).Replace('-', '').Substring(0, 16).ToLower()
}

function Test-Installed([string] $Mode) {
    $stamp = Join-Path $Venv (Get-Stamp)
    if (-not ((Test-Path "$stamp-test") -or ($Mode -eq 'demo' -and (Test-Path "$stamp-demo")))) { return $false }
    return Test-Python $Python
}

function Test-AtHome {
    $line = Select-String -Path (Join-Path $Venv 'pyvenv.cfg') -Pattern '^command = ' -ErrorAction SilentlyContinue
    return -not $line -or $line.Line.EndsWith(" $Venv")
}

function Find-Python {
    $candidates = 'python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python'
    if ($env:OFFPIPE_PYTHON) { $candidates = @($env:OFFPIPE_PYTHON) }
    $withoutVenv = ''
    foreach ($candidate in $candidates) {
        $found = Get-Command $candidate -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
        if (-not $found -or -not (Test-Python $found.Source)) { continue }
        $check = Invoke-Quietly $found.Source @('-I', '-c', 'import ensurepip, venv; ensurepip.version()')
        if ($check.Code -eq 0) { return $found.Source }
        if (-not $withoutVenv) { $withoutVenv = $found.Source }
    }
    if ($withoutVenv) {
        Stop-WithError "$withoutVenv cannot make virtual environments" 'its venv and ensurepip modules are needed'
    }
    if ($env:OFFPIPE_PYTHON) {
        Stop-WithError "OFFPIPE_PYTHON=$env:OFFPIPE_PYTHON`: not a Python $Oldest or newer that runs" 'name one that is'
    }
    Stop-WithError "no Python $Oldest or newer found (tried $candidates)" `
        'install one from python.org, or name it in OFFPIPE_PYTHON'
}

function New-Venv {
    if (Test-Path $Venv) {
        if ((Test-Python $Python) -and (Invoke-Quietly $Python @('-I', '-m', 'pip', '--version')).Code -eq 0 -and (Test-AtHome)) {
            return
        }
        [Console]::Error.WriteLine("making .venv again: its Python does not run, is older than $Oldest, has no pip, or was made elsewhere")
        Remove-Item -Recurse -Force $Venv
    }
    $found = Find-Python
    [Console]::Error.WriteLine("making .venv with $found")
    $made = Invoke-Quietly $found @('-I', '-m', 'venv', $Venv)
    if ($made.Code -ne 0) {
        [Console]::Error.WriteLine($made.Output.Trim())
        Remove-Item -Recurse -Force $Venv -ErrorAction SilentlyContinue
        Stop-WithError "cannot make $Venv" 'is the place writable, with room, and does this Python have venv and ensurepip?'
    }
}

function Install-IntoVenv([string] $Mode, [string] $Wheels) {
    $what = if ($Mode -eq 'demo') { $Checkout } else { "$Checkout[test]" }
    $arguments = @('-I', '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input')
    if ($Wheels) { $arguments += '--no-index', '--find-links', $Wheels }
    [Console]::Error.WriteLine('installing into .venv' + $(if ($Wheels) { " from $Wheels" }) + ' (once)')
    Remove-Item (Join-Path $Venv 'offpipe-*') -ErrorAction SilentlyContinue
    $installed = Invoke-Quietly $Python ($arguments + @('--editable', $what))
    if ($installed.Code -ne 0) {
        [Console]::Error.WriteLine($installed.Output.Trim())
        Stop-WithError "cannot install into $Venv" `
            'without an index, OFFPIPE_WHEELS=DIR installs from a directory of wheels; CONTRIBUTING.md shows how to fill one'
    }
    New-Item -ItemType File -Force (Join-Path $Venv "$(Get-Stamp)-$Mode") | Out-Null
}

function Initialize-Venv([string] $Mode) {
    $wheels = ''
    if ($env:OFFPIPE_WHEELS) {
        if (-not (Test-Path -PathType Container $env:OFFPIPE_WHEELS)) {
            Stop-WithError "OFFPIPE_WHEELS=$env:OFFPIPE_WHEELS`: no such directory" 'CONTRIBUTING.md shows how to fill one'
        }
        $wheels = (Resolve-Path $env:OFFPIPE_WHEELS).Path
    }
    if (Test-Installed $Mode) { return }
    # One at a time: the system lets go of an open file when its holder dies.
    $lock = $null
    while (-not $lock) {
        try { $lock = [IO.File]::Open((Join-Path $Checkout '.venv.lock'), 'OpenOrCreate', 'ReadWrite', 'None') }
        catch [UnauthorizedAccessException] {
            Stop-WithError "$Checkout`: cannot write .venv here" 'copy the checkout to a place that you may write to'
        }
        catch [IO.IOException] { Start-Sleep -Milliseconds 500 }
    }
    try {
        if (-not (Test-Installed $Mode)) {
            New-Venv
            Install-IntoVenv $Mode $wheels
        }
    }
    finally { $lock.Dispose() }
}
