# Runs the demo pipeline, after making .venv where it is missing. Arguments go to the runner: ./run_demo.ps1 --json
. "$PSScriptRoot/scripts/setup.ps1"

Initialize-Venv demo
$spec = Join-Path $Checkout 'pipelines/demo.json'
# -P: a runner.py where the caller stands must not be taken for ours
& $Python -P -m runner $spec @args
if ($LASTEXITCODE -ne 0 -or $args.Count -gt 0) { exit $LASTEXITCODE }

''
'The first lines of data/output/upper.txt:'
Get-Content -Encoding UTF8 -TotalCount 4 (Join-Path $Checkout 'data/output/upper.txt')
''
'Run it again: nothing is left to do. Change a line in data/input/, and what depends on it runs.'
