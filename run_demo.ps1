# Runs run_demo.sh with the same arguments; on Windows in WSL2, because offpipe needs Linux.
if ($IsLinux) { & "$PSScriptRoot/run_demo.sh" @args }
else { wsl.exe --cd $PSScriptRoot -- ./run_demo.sh @args }
exit $LASTEXITCODE
