#!/usr/bin/env bash
# A run on the machines of a PBS job (PBS Professional, OpenPBS): `rlsys launch` with what follows the file's name.
#
#   bash launch/pbs.sh muzero-breakout runtime.rollout_cpus=1              # submits itself, to one machine
#   bash launch/pbs.sh -l select=1:ncpus=4:ngpus=1:mem=40gb:scratch_local=100gb -q gpu_long -- iris-breakout
#   bash launch/pbs.sh -l select=1:ncpus=8:ngpus=1:mpiprocs=1+3:ncpus=16:mpiprocs=1 -- \
#       muzero-breakout --profile gpu-48             # options of qsub before --; the first machine learns
#   qsub -V -v LAUNCH="muzero-breakout runtime.rollout_cpus=1" launch/pbs.sh   # the same by hand
#   rlsys stop muzero-breakout/job-JOB                                     # end it with a checkpoint
#
# Submit from the folder in which runs/ shall lie, on a file system that all machines see, and in a shell that finds
# `rlsys`: -V takes the environment along. mpiprocs=1: one line per machine in PBS_NODEFILE. Learners and replay shards
# are on the first RLSYS_LEARNER_NODES (1) machines, rollout workers on the others.
#
# A file .env there is read as by a shell: WANDB_API_KEY=… is not among the job's variables then. A job on one machine
# with a SCRATCHDIR works there: the run, which is taken along if it goes on, temporary files and caches. At its end,
# however that comes, the run is brought back to runs/; until then `qsig -s SIGTERM JOB` ends it with a checkpoint. What
# cannot be brought back stays, with CLEAN_SCRATCH=false. RLSYS_SCRATCH=no: the run lies in runs/ all the time, as several
# runs always do, which jobs share out.
#
# Five minutes before its time is over, the run writes a checkpoint; the last line says how to go on with it. A job that
# PBS itself runs again goes on with its run, runs/<experiment>/job-<job>.
#
# Tried so far: tests/cluster/test_site_scripts.py and test_pbs.py; and tests/cluster/site_jobs.py, which trains, with
# stand-ins for pbsdsh and qstat and a raylet of one machine for each machine. It has not met a PBS.
#
#PBS -N rlsys
#PBS -j oe
#PBS -r y
#PBS -l walltime=24:00:00
set -euo pipefail

submit() { # the words of this command: qsub's options and --, if there are any, and those of `rlsys launch`
    local options=() word
    for word in "$@"; do
        if [[ $word == -- ]]; then
            while [[ $1 != -- ]]; do
                options+=("$1")
                shift
            done
            shift
            break
        fi
    done
    (($# > 0)) || { echo "error: say what to launch: bash $0 [OPTIONS OF qsub --] muzero-breakout …" >&2 && exit 2; }
    LAUNCH=$(printf '%q ' "$@") exec qsub -V "${options[@]}" "$0"
}

if [[ -z ${PBS_JOBID:-} ]]; then
    submit "$@"
fi

cd "$PBS_O_WORKDIR"
if [[ -f .env ]]; then
    set -a
    # shellcheck source=/dev/null
    source ./.env
    set +a
fi
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
    local launch=" and LAUNCH=\"--resume ${target:-$run}\""
    [[ $run == */* ]] || launch= # several runs
    echo "the job's time is nearly over; go on with the same qsub$launch"
}

use_scratch() { # rewrites `words`: the run lies on this machine's scratch until the job ends
    local index home=runs
    export TMPDIR=$SCRATCHDIR/tmp WANDB_CACHE_DIR=$SCRATCHDIR/wandb TORCH_HOME=$SCRATCHDIR/torch
    export WANDB__SERVICE_WAIT=300
    mkdir -p "$TMPDIR" "$WANDB_CACHE_DIR" "$TORCH_HOME"
    for index in "${!words[@]}"; do
        if [[ ${words[index]} == run.directory=* ]]; then
            home=${words[index]#*=}
            unset "words[index]"
        fi
    done
    words=("${words[@]}")
    if [[ ${words[0]} == --resume ]]; then
        target=${words[1]:-}
        [[ -d $target ]] || target=$home/$target
        brought=$SCRATCHDIR/runs/$(basename "$(dirname "$target")")/$(basename "$target")
        words[1]=$brought
    else
        target=$home/$(basename "${words[0]%.y*ml}")/job-$job
        brought=$SCRATCHDIR/runs/${target#"$home/"}
        words+=("run.directory=$SCRATCHDIR/runs")
        put_aside "$target"
    fi
    if [[ -d $target ]]; then
        mkdir -p "$(dirname "$brought")"
        cp -a "$target" "$brought"
    fi
}

leave() { # called at the end: brings the run back, whole, in place of what it went on from
    [[ -n ${brought:-} && -d $brought ]] || return 0
    local draft
    draft=$(dirname "$target")/.$(basename "$target")-$job
    if mkdir -p "$(dirname "$target")" && rm -rf "$draft" && cp -a "$brought" "$draft" && rm -rf "$target" &&
        mv "$draft" "$target"; then
        rm -rf "$brought"
        echo "the run is in $target"
    else
        export CLEAN_SCRATCH=false
        echo "error: $target cannot be written; the run stays in $(hostname):$brought." >&2
    fi
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
# Words as a shell quotes them, as `submit` does; nothing in them is run.
mapfile -t words < <(xargs printf '%s\n' <<<"${LAUNCH:?say what: qsub -v LAUNCH=\"muzero-breakout …\"}")
# OMP's and MKL's threads are what rlsys and Ray give each process; these would count the machine's cores in all of them.
export OPENBLAS_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1
if [[ -n ${SCRATCHDIR:-} && ${RLSYS_SCRATCH:-yes} != no ]] && ((${#machines[@]} == 1)) && ! are_several "${words[@]}"; then
    use_scratch
fi
run_on_cluster "${words[@]}"
