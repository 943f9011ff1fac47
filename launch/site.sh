# shellcheck shell=bash disable=SC2154 # what is not assigned here, slurm.sh and pbs.sh assign
# What slurm.sh and pbs.sh share: a Ray cluster on the machines of a job, a run on it, and the end of both.
#
# They say which machines there are and how to start something there, and call `run_on_cluster`:
#
#   learners, rollouts    arrays of host names; learners[0] is this machine, which is the cluster's head too
#   job                   the scheduler's number of this job: the run's id, so that a restarted job goes on with its run
#   on_node HOST COMMAND  runs a command on another machine, and ends it when it gets SIGTERM itself
#   go_on_later           called when the run was ended by SIGUSR1, which says that the job's time is nearly over
#   leave                 called after all else, if there is such a function
#
# Who has not this user's ~/.ray/auth_token, which lies in a home folder that all machines see, is refused by the
# cluster. No Ray process of another job on the same machines is touched.

: "${RLSYS_JOIN_S:=300}" # how long the machines may take to join
parts=()                 # the processes whose end is the cluster's

run_on_cluster() { # the arguments of 'rlsys launch', the experiment or --resume first
    trap end_cluster EXIT
    trap 'exit 143' TERM INT USR1
    umask 077
    settle "$@"
    export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
    ray get-auth-token --generate >/dev/null
    start_cluster
    train
}

settle() { # sets `run` and `command`: as given, with the job for an id; or going on where an earlier start came to
    local directory=runs word
    for word in "$@"; do
        case $word in run.directory=*) directory=${word#*=} ;; esac
    done
    command=("$@")
    case ${1:-} in
        --resume) run=${2:-} && return ;;
        -* | *=* | '') fail "begin with the name of an experiment, or with --resume RUN" ;;
    esac
    run=$(basename "${1%.y*ml}")
    if are_several "$@"; then # the same command goes on with them
        return
    fi
    run+=/job-$job
    if has_checkpoint "$directory/$run"; then
        command=(--resume "$directory/$run")
        return
    fi
    put_aside "$directory/$run"
    command+=("run.run_tag=job-$job")
}

are_several() { # the arguments of 'rlsys launch': whether they are more than one run, each with an id of its own
    case " $* " in *" --num-runs"*) return ;; esac
    python -c '
import sys
from rlsys.config import load

settings = [word for word in sys.argv[2:] if "=" in word and not word.startswith("-")]
sys.exit(not load(sys.argv[1], overrides=settings).experiment.run.are_several)
' "$@" 2>/dev/null # what is wrong with them is said when they are launched
}

put_aside() { # a run's folder, if it ended before its first checkpoint
    if [[ -e $1 ]] && ! has_checkpoint "$1"; then
        mv "$1" "$1-ended-$(date +%s)"
    fi
}

has_checkpoint() { # a run's folder; its checkpoints may lie elsewhere
    [[ -e $1/config.yaml ]] && python - "$1" <<'PYTHON'
import sys
from pathlib import Path
from rlsys.runs.folder import checkpoints

sys.exit(checkpoints(Path(sys.argv[1])).latest() is None)
PYTHON
}

start_cluster() {
    local port=$((20000 + job % 20000)) host
    folder=/tmp/rlsys-$(id -u)-$port # short, because sockets lie in it
    address=$(python -c 'import ray; print(ray.util.get_node_ip_address())'):$port
    # Roles are worth something where there are two: rollout workers, which reserve cores, keep off the learners'.
    local common=(--block --dashboard-agent-listen-port=0 --temp-dir="$folder") learner=() rollout=() cores=
    if ((${#rollouts[@]} > 0)); then
        learner=(--labels=rlsys.io/role=learner) rollout=(--labels=rlsys.io/role=rollout) cores=0
    fi
    ray start --head --port="$port" --num-cpus="${cores:-$(cores_here)}" --include-dashboard=false "${common[@]}" \
        "${learner[@]}" &
    parts+=($!)
    SECONDS=0
    until ray health-check --address="$address" 2>/dev/null; do
        kill -0 "${parts[0]}" 2>/dev/null || fail "the head of the Ray cluster did not start; see above why"
        ((SECONDS < RLSYS_JOIN_S)) || fail "the head of the Ray cluster did not start within $RLSYS_JOIN_S s"
        sleep 1
    done
    for host in "${learners[@]:1}"; do
        join "$host" 0 "${common[@]}" "${learner[@]}"
    done
    for host in "${rollouts[@]}"; do
        join "$host" '' "${common[@]}" "${rollout[@]}"
    done
    await_machines $((${#learners[@]} + ${#rollouts[@]}))
}

cores_here() { # Ray would count the machine's, whatever the job was given
    env --unset=OMP_NUM_THREADS nproc
}

join() { # HOST, its cores or '' for the job's, and options of 'ray start'
    local host=$1 program
    shift
    program="$(declare -f cores_here outlive be_machine); be_machine \"\$@\""
    on_node "$host" "$BASH" -c "$program" joined "$folder" "$1" --address="$address" "${@:2}" &
    parts+=($!)
}

be_machine() { # runs over there: FOLDER, cores and options; the machine is left as it was found
    local status=0 raylet
    ray start --num-cpus="${2:-$(cores_here)}" "${@:3}" &
    raylet=$!
    trap 'kill -TERM "$raylet"' TERM
    outlive "$raylet" || status=$?
    rm -rf "$1"
    exit "$status"
}

await_machines() { # how many
    python - "$address" "$1" "$RLSYS_JOIN_S" <<'PYTHON' &
import sys, time, ray

address, wanted, patience_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + patience_s
while (there := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > deadline:
        sys.exit(f"error: {there} of {wanted} machines joined the Ray cluster within {patience_s:.0f} s.")
    time.sleep(1)
PYTHON
    local waiter=$! part
    while kill -0 "$waiter" 2>/dev/null; do
        for part in "${parts[@]}"; do
            if ! kill -0 "$part" 2>/dev/null; then
                kill "$waiter"
                fail "a machine could not join the Ray cluster; see above why"
            fi
        done
        sleep 0.5
    done
    wait "$waiter"
}

train() { # SIGTERM: end with a checkpoint; SIGUSR1: end with one, and go on later
    local launch status=0 later=no
    rlsys launch "${command[@]}" --address "$address" &
    launch=$!
    trap 'kill -TERM "$launch" 2>/dev/null || true' TERM INT
    trap 'later=yes; kill -TERM "$launch" 2>/dev/null || true' USR1
    outlive "$launch" || status=$?
    trap '' TERM INT USR1
    if [[ $later == yes ]]; then
        go_on_later
    fi
    return "$status"
}

outlive() { # a process: returns its status, however often signals interrupt the waiting
    while kill -0 "$1" 2>/dev/null; do
        wait "$1" || true
    done
    wait "$1"
}

end_cluster() {
    [[ $BASHPID == "$$" ]] || return 0 # a signal may find a part that has these traps still
    trap '' TERM INT USR1
    local part
    for part in "${parts[@]}"; do
        kill -TERM "$part" 2>/dev/null || true
    done
    for part in "${parts[@]}"; do
        wait "$part" 2>/dev/null || true
    done
    [[ -z ${folder:-} ]] || rm -rf "$folder"
    if declare -F leave >/dev/null; then
        leave
    fi
}

fail() {
    echo "error: $1." >&2
    exit 2
}
