#!/bin/sh
# submit.sh MEGABYTES GPUS JOBSCRIPT: create a job from job.yaml, and print its name.
set -e
manifest=$(sed -e "s|MEMORY|$1|" -e "s|GPUS|$2|" -e "s|JOBSCRIPT|$3|" "$(dirname "$0")/job.yaml")
echo "$manifest" | kubectl create -o name -f -
