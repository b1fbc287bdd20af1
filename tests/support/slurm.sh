#!/bin/bash
# The commands of Slurm for tests, under their own names: a queue in the directory FAKE_SLURM, whose jobs are real processes.
#
#   $FAKE_SLURM/jobs/ID/…      a job, or a task of an array, ID_NUMBER: name, state, exit, reason, node, restarts, script, output
#   $FAKE_SLURM/calls          each submission that was asked for, with its arguments
#   $FAKE_SLURM/hold           while it is there, jobs wait
#   $FAKE_SLURM/accounting     where it is there, sacct knows what the queue has forgotten
#   $FAKE_SLURM/faults/NAME    what goes wrong: once, or for as long as the file is there (queue-down)
set -u
here=$FAKE_SLURM
mkdir -p "$here/jobs" "$here/ids" "$here/faults" "$here/books" "$here/begin"

get() { cat "$here/jobs/$1/$2" 2>/dev/null; }
set_to() { printf '%s\n' "$3" >"$here/jobs/$1/$2.new" && mv "$here/jobs/$1/$2.new" "$here/jobs/$1/$2"; }
once() { rm "$here/faults/$1" 2>/dev/null; }
ids() { ls "$here/jobs" | sort -n; }

# The process of a job: it waits, works, and ends. One that was started again meanwhile ends for itself.
job() {
  local id=$1 restart=$2 code
  while [ -e "$here/hold" ]; do sleep 0.02; done
  [ "$(get "$id" state)" = PENDING ] || exit 0
  set_to "$id" node "n$((restart + 1))"
  set_to "$id" state RUNNING
  case $id in *_*) export SLURM_ARRAY_JOB_ID=${id%_*} SLURM_ARRAY_TASK_ID=${id#*_} ;; esac
  SLURM_JOB_ID=${id/_/000} SLURM_RESTART_COUNT=$restart SLURMD_NODENAME=n$((restart + 1)) setsid bash "$(get "$id" script)" \
    >>"$(get "$id" output)" 2>&1 </dev/null &
  set_to "$id" "pid-$restart" "$!"
  wait $!
  code=$?
  [ "$(get "$id" restarts)" = "$restart" ] && [ "$(get "$id" state)" = RUNNING ] || exit 0
  if [ $code -gt 128 ] && [ $code != 143 ]; then set_to "$id" exit "0:$((code - 128))"; else set_to "$id" exit "$code:0"; fi
  set_to "$id" state "$([ $code = 0 ] && echo COMPLETED || echo FAILED)"
}

# The node begins it, not the one who asks: a job is no child of a run.
begin() { : >"$here/begin/$1-$2"; }

# Ends the processes of a job with a signal.
strike() { kill -"$2" -- -"$(get "$1" pid-"$(get "$1" restarts)")" 2>/dev/null; }

case ${0##*/} in
sbatch)
  printf '%s\n' "$*" >>"$here/calls"
  once submission-refused && echo "sbatch: error: Batch job submission failed: Requested node configuration is not available" >&2 && exit 1
  once submission-lost && echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2 && exit 1
  once submission-full && echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)" >&2 && exit 1
  case "$*" in *--array=*) once array-too-large && echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2 && exit 1 ;; esac
  id=1
  until mkdir "$here/ids/$id" 2>/dev/null; do id=$((id + 1)); done
  tasks=""
  for argument; do
    case $argument in
    --job-name=*) name=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --array=*) tasks=${argument#*=} ;;
    esac
  done
  numbers=${tasks:-alone}
  for task in ${numbers//,/ }; do
    job=$id${tasks:+_$task}
    mkdir "$here/jobs/$job"
    set_to "$job" name "$name"
    set_to "$job" output "${output//%a/$task}"
    set_to "$job" script "${!#}"
    set_to "$job" restarts 0
    set_to "$job" state PENDING
    begin "$job" 0
  done
  once submission-unclear && echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2 && exit 1
  echo $id
  ;;
start-job) job "$@" ;;
# the node, which begins jobs until it is ended
slurmd)
  while :; do
    for file in "$here"/begin/*; do
      [ -e "$file" ] || continue
      rm "$file"
      start=${file##*/}
      "$here/bin/start-job" "${start%-*}" "${start#*-}" >/dev/null 2>&1 </dev/null &
    done
    sleep 0.02
  done
  ;;
squeue)
  [ -e "$here/faults/queue-down" ] && echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2 && exit 1
  exec 9>"$here/lock" && flock 9
  for id in $(ids); do
    [ -n "$(get "$id" state)" ] && echo "$id|$(get "$id" name)|$(get "$id" state)|$(get "$id" reason)|$(get "$id" node)"
  done
  exit 0
  ;;
scontrol)
  id=$3
  [ -d "$here/jobs/$id" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2 && exit 1; }
  case $id in *_*) echo "JobId=${id/_/000} ArrayJobId=${id%_*} ArrayTaskId=${id#*_}" ;; *) echo "JobId=$id" ;; esac
  echo "JobName=$(get "$id" name) JobState=$(get "$id" state) Reason=$(get "$id" reason) ExitCode=$(get "$id" exit) NodeList=$(get "$id" node)"
  ;;
sacct)
  [ -e "$here/accounting" ] || { echo "Slurm accounting storage is disabled" >&2 && exit 1; }
  cat "$here"/books/* 2>/dev/null
  ;;
scancel)
  for id in $(ids); do
    if [ "$1" = --name ]; then [ "$(get "$id" name)" = "$2" ] || continue; else [[ " $* " == *" $id "* ]] || continue; fi
    state=$(get "$id" state)
    [ "$state" = PENDING ] || [ "$state" = RUNNING ] || continue
    # A task of an array that waits is forgotten at once.
    case $state$id in PENDING*_*) rm -r "$here/jobs/$id" && continue ;; esac
    set_to "$id" exit 0:15
    set_to "$id" state CANCELLED
    strike "$id" KILL
  done
  exit 0
  ;;
sinfo) echo "main*|gpu:2" ;;
# What tests do to a cluster:
# the job ends in a state, and its processes with it
end-job)
  set_to "$1" exit "${3:-0:0}"
  set_to "$1" state "$2"
  strike "$1" KILL
  ;;
# the node is taken for dead while the job goes on there, and the job starts again
requeue-job)
  restart=$(($(get "$1" restarts) + 1))
  set_to "$1" restarts $restart
  set_to "$1" state PENDING
  begin "$1" $restart
  ;;
# every job ends
end-all)
  for pid in $(tail -qn 1 "$here"/jobs/*/pid-* 2>/dev/null); do kill -KILL -- "-$pid" 2>/dev/null; done
  exit 0
  ;;
# SIGTERM to the script alone, as before a time limit
warn-job) kill -TERM "$(get "$1" pid-"$(get "$1" restarts)")" ;;
# the controller forgets a job, or several at once: `1_0,1_1`
forget-job)
  exec 9>"$here/lock" && flock 9
  for id in ${1//,/ }; do
    [ -n "${2:-}" ] && echo "$id|$(get "$id" name)|$2|${3:-0:0}|None|n1" >"$here/books/$id"
    strike "$id" KILL
    rm -r "$here/jobs/$id"
  done
  ;;
esac
