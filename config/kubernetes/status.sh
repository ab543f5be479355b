#!/bin/sh
# status.sh JOB: print success, failed or running.
set -e
case "$(kubectl get "$1" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}')" in
  *Failed*) echo failed ;;
  *Complete*) echo success ;;
  *) echo running ;;
esac
