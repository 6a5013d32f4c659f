#!/bin/sh
# Resets a VM whose guest hangs: a program of events.commands, which a policy of monitor.recovery names.
#
#   reset-vm.sh [CONNECTION-URI]
#
# vmmessaged says which VM it is in VMMESSAGE_VM_ID. What is written to stderr last stands in the event RECOVERY.ENDED.
set -eu
uri=${1:-qemu:///system}

# Whoever paused or stopped it meanwhile has their reasons.
state=$(virsh --connect "$uri" domstate "$VMMESSAGE_VM_ID")
if [ "$state" != running ]; then
  echo "it is $state: nothing was reset" >&2
  exit 0
fi
exec virsh --connect "$uri" reset "$VMMESSAGE_VM_ID"
