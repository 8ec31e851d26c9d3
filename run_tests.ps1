# Runs run_tests.sh with the same arguments; on Windows in WSL2, because offpipe needs Linux.
if ($IsLinux) { & "$PSScriptRoot/run_tests.sh" @args }
else { wsl.exe --cd $PSScriptRoot -- ./run_tests.sh @args }
exit $LASTEXITCODE
