#!/usr/bin/env bash
# A run on the machines of a Slurm job: `rlsys launch` with what follows the file's name.
#
#   sbatch --nodes=4 --cpus-per-task=16 launch/slurm.sh muzero-breakout runtime.rollout_cpus=1
#   sbatch --partition=gpu --nodes=1 --gpus-per-node=1 --cpus-per-task=8 : --partition=cpu --nodes=3 --cpus-per-task=16 \
#       launch/slurm.sh muzero-breakout --profile gpu-48         # a heterogeneous job: the first part learns
#   sbatch --array=1-26 --gpus-per-node=1 launch/slurm.sh iris-atari100k      # its runs, shared out among 26 jobs
#   scancel --batch --signal=TERM JOB                            # end it with a checkpoint; so does 'rlsys stop RUN'
#
# Submit from the folder in which runs/ shall lie, on a file system that all machines see, and in a shell that finds
# `rlsys`: the environment goes along. Learners and replay shards are on the machines of a heterogeneous job's first
# part, else on the first RLSYS_LEARNER_NODES (1) machines; rollout workers are on the others.
#
# Five minutes before its time is over, the job writes a checkpoint and is queued again; it goes on with its run,
# runs/<experiment>/job-<job>. So it does after a machine was lost. RLSYS_REQUEUE=no: it ends instead.
#
# Tried so far: tests/cluster/test_site_scripts.py; and tests/cluster/site_jobs.py, which trains, with stand-ins for srun
# and scontrol and a raylet of one machine for each machine. It has not met a Slurm.
#
#SBATCH --job-name=rlsys
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

job=$SLURM_JOB_ID
part_of=() # host=part of a heterogeneous job
mapfile -t learners < <(scontrol show hostnames "${SLURM_JOB_NODELIST_HET_GROUP_0:-$SLURM_JOB_NODELIST}")
rollouts=()
if ((${SLURM_HET_SIZE:-1} > 1)); then
    for ((part = 1; part < SLURM_HET_SIZE; part++)); do
        list=SLURM_JOB_NODELIST_HET_GROUP_$part
        mapfile -t hosts < <(scontrol show hostnames "${!list}")
        rollouts+=("${hosts[@]}")
        part_of+=("${hosts[@]/%/=$part}")
    done
else
    rollouts=("${learners[@]:${RLSYS_LEARNER_NODES:-1}}")
    learners=("${learners[@]:0:${RLSYS_LEARNER_NODES:-1}}")
fi

on_node() { # HOST COMMAND...
    local host=$1 pair options=(--nodes=1 --ntasks=1 --cpu-bind=none --input=none)
    shift
    if ((${SLURM_HET_SIZE:-1} > 1)); then
        options+=(--het-group=0)
        for pair in "${part_of[@]}"; do
            [[ ${pair%=*} != "$host" ]] || options[-1]=--het-group=${pair##*=}
        done
    fi
    exec srun "${options[@]}" --nodelist="$host" "$@"
}

go_on_later() {
    [[ ${RLSYS_REQUEUE:-yes} == no ]] || scontrol requeue "$job"
}

if ! shared=$(python -c 'from rlsys.config import data_folder; print(data_folder("launch"))' 2>/dev/null); then
    echo "error: python finds no rlsys on $(hostname). Submit from a shell in which 'rlsys' runs." >&2
    exit 2
fi
# shellcheck source=launch/site.sh
source "$shared/site.sh"
run_on_cluster "$@"
