#!/bin/sh
# cancel.sh JOB ...: stop jobs. Snakemake runs a program here, not a command with options.
exec kubectl delete --wait=false "$@"
