from runner import sdk

with sdk.stage() as stage, stage.lines("text", to="upper") as job:
    for line in job:
        job.write(line.upper())
