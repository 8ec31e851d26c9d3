# Runs all checks, after making .venv where it is missing. Arguments go to pytest: ./run_tests.ps1 -k name
. "$PSScriptRoot/scripts/setup.ps1"

function Invoke-Part([string] $Name, [scriptblock] $Part) {
    $watch = [Diagnostics.Stopwatch]::StartNew()
    $global:LASTEXITCODE = 0
    & $Part
    if ($LASTEXITCODE -ne 0) {
        [Console]::Error.WriteLine("error: $Name found something")
        exit 1
    }
    '{0,-12} {1:N1} s' -f $Name, $watch.Elapsed.TotalSeconds
}

Invoke-Part setup { Initialize-Venv test }
Push-Location $Checkout
try {
    $typed = @('runner', 'stages', 'pytest_offpipe' | Where-Object {
        Get-ChildItem -Recurse -Filter '*.py' -Path $_ -ErrorAction SilentlyContinue
    })
    Invoke-Part format { & $Python -m ruff format --check --quiet . }
    Invoke-Part ruff { & $Python -m ruff check --quiet . }
    Invoke-Part mypy { & $Python -m mypy --strict --no-error-summary @typed }
    & $Python -m pytest -n ([Environment]::ProcessorCount + 1) --dist loadfile --no-loadscope-reorder @args
    exit $LASTEXITCODE
}
finally { Pop-Location }
