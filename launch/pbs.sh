#!/usr/bin/env bash
# A run on the machines of a PBS job (PBS Professional, OpenPBS): `rlsys launch` with what LAUNCH says.
#
#   qsub -V -l select=4:ncpus=16:mpiprocs=1 -v LAUNCH="muzero-breakout runtime.rollout_cpus=1" launch/pbs.sh
#   qsub -V -l select=1:ncpus=8:ngpus=1:mpiprocs=1+3:ncpus=16:mpiprocs=1 \
#       -v LAUNCH="muzero-breakout --profile gpu-48" launch/pbs.sh         # the first machine learns
#   rlsys stop muzero-breakout/job-JOB                                     # end it with a checkpoint
#
# Submit from the folder in which runs/ shall lie, on a file system that all machines see, and in a shell that finds
# `rlsys`: -V takes the environment along. mpiprocs=1: one line per machine in PBS_NODEFILE. Learners and replay shards
# are on the first RLSYS_LEARNER_NODES (1) machines, rollout workers on the others.
#
# Five minutes before its time is over, the run writes a checkpoint; the last line says how to go on with it. A job that
# PBS itself runs again goes on with its run, runs/<experiment>/job-<job>.
#
# Tried so far: tests/cluster/test_site_scripts.py; and tests/cluster/site_jobs.py, which trains, with stand-ins for
# pbsdsh and qstat and a raylet of one machine for each machine. It has not met a PBS.
#
#PBS -N rlsys
#PBS -j oe
#PBS -r y
#PBS -l walltime=24:00:00
set -euo pipefail

cd "$PBS_O_WORKDIR"
job=${PBS_JOBID%%.*}
mapfile -t machines < <(awk '!seen[$0]++' "$PBS_NODEFILE")
learners=("${machines[@]:0:${RLSYS_LEARNER_NODES:-1}}")
rollouts=("${machines[@]:${RLSYS_LEARNER_NODES:-1}}")

on_node() { # HOST COMMAND...: pbsdsh takes no environment along, so a file says it, which the machine deletes
    local host=$1 index script
    shift
    script=$(mktemp "$PWD/.rlsys-node-XXXXXX")
    {
        echo "rm -f $(printf %q "$script")"
        export -p
        echo "cd $(printf %q "$PWD")"
        echo "exec $(printf '%q ' "$@")"
    } >"$script"
    index=$(grep --line-number --line-regexp --fixed-strings --max-count=1 "$host" "$PBS_NODEFILE" | cut -d: -f1)
    exec pbsdsh -n $((index - 1)) -- "$BASH" "$script"
}

go_on_later() {
    local launch=" and LAUNCH=\"--resume $run\""
    [[ $run == */* ]] || launch= # several runs
    echo "the job's time is nearly over; go on with the same qsub$launch"
}

warn_before_the_end() { # five minutes before the job's time is over
    local walltime hours minutes seconds end
    walltime=$(qstat -f "$PBS_JOBID" | awk -F' = ' '/Resource_List.walltime/ {print $2}')
    IFS=: read -r hours minutes seconds <<<"$walltime"
    end=$((SECONDS + 10#$hours * 3600 + 10#$minutes * 60 + 10#$seconds - 300))
    while ((SECONDS < end)) && kill -0 $$ 2>/dev/null; do
        sleep 5
    done
    kill -USR1 $$ 2>/dev/null || true
}

if ! shared=$(python -c 'from rlsys.config import data_folder; print(data_folder("launch"))' 2>/dev/null); then
    echo "error: python finds no rlsys on $(hostname). Submit from a shell in which 'rlsys' runs." >&2
    exit 2
fi
# shellcheck source=launch/site.sh
source "$shared/site.sh"
warn_before_the_end &
read -r -a words <<<"${LAUNCH:?say what: qsub -v LAUNCH=\"muzero-breakout …\"}"
run_on_cluster "${words[@]}"
