#!/bin/bash
# SpectraNet-L on 64 GPUs, 8 nodes of 8.    sbatch examples/slurm.sh
#
# Edit what is marked "yours". Everything a node reads or writes below $SHARED must be the same files on
# every node. docs/clusters.md says what happens when the time is up, a node dies or a rank fails.

#SBATCH --job-name=spectranet
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1       # one torchrun a node; it starts the node's eight ranks
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96        # yours: all cores of a node; data.workers of each rank decode on them
#SBATCH --mem=0                   # all of a node's memory
#SBATCH --exclusive
#SBATCH --time=24:00:00           # yours
##SBATCH --partition=…            # yours
##SBATCH --account=…              # yours

# Ten minutes before the time is up every process of the step is told. The ranks finish their step, save
# and exit with 75. Without "B:" the signal goes to the step and not to this script.
#SBATCH --signal=USR1@600

# Slurm itself puts the job back when a node fails or a more urgent job takes its nodes. The log goes on.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -u

export SHARED=/shared             # yours: a directory that all nodes see
RUN="$SHARED/runs/spectranet-l"
MAX_RESTARTS=100

export HF_HUB_OFFLINE=1           # pretrained folders are local; a node that asks the hub waits for its timeouts
# NCCL finds InfiniBand by itself. Where nodes have several networks and it takes the wrong one for its first
# handshake, name the right one:
# export NCCL_SOCKET_IFNAME=ib0

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# A preempted job gets SIGTERM, this script too. It must live on to see how the ranks ended.
trap : TERM

# The first task that ends does not take the others along: they may be writing the last of a checkpoint.
# From Slurm 22.05 to 23.02 srun does not inherit --cpus-per-task: a node's ranks would share one core.
srun --kill-on-bad-exit=0 --wait=120 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    python examples/torchrun.py --nnodes 8 --nproc-per-node 8 --rdzv-backend c10d \
        --rdzv-endpoint "$HEAD:29500" --rdzv-id spectranet --max-restarts 0 \
        -m spectranet train --plugins vision,audio,text --config spectranet-l \
        run_dir="$SHARED/runs/spectranet-l" \
        modalities.text.tokenizer="$SHARED/tokenizer.model" \
        data.sources.image-text.path="$SHARED/data/image-text/*.tar" \
        data.sources.video-text.path="$SHARED/data/video-text/*.tar" \
        data.sources.audio-text.path="$SHARED/data/audio-text/*.tar" \
        train.micro_batch=16 train.activation_checkpointing=selective
code=$?                           # of srun: the highest of all tasks

restarts=${SLURM_RESTART_COUNT:-0}

# A fault ends its node with 1 and all others with 76, which is the higher. So what is lost thrice in a row
# without a new checkpoint is not repeated.
newest=$(cd "$RUN/checkpoints" 2>/dev/null && printf '%s\n' step-* | grep -v tmp | tail -n 1)
lost=0
if [ "$code" != 75 ] && [ -d "$RUN" ]; then
    echo "${newest:-none}" >> "$RUN/lost-after"
    lost=$(tail -n 3 "$RUN/lost-after" | grep -cFx "${newest:-none}")
fi

case $code in
    0)
        echo "done"
        ;;
    75 | 76 | 134 | 137 | 139)    # saved and stopped; a rank was lost; killed by SIGABRT, SIGKILL, SIGSEGV
        if [ "$lost" -ge 3 ]; then
            echo "ended with $code for the third time after checkpoint ${newest:-none}; not requeued: read the first error"
        elif [ "$restarts" -lt "$MAX_RESTARTS" ]; then
            echo "ended with $code; requeued, restart $((restarts + 1)) of at most $MAX_RESTARTS"
            scontrol requeue "$SLURM_JOB_ID"
        else
            echo "ended with $code after $restarts restarts; not requeued"
        fi
        ;;
    *)
        echo "ended with $code, which a repetition would not mend: see docs/faults.md"
        ;;
esac
exit "$code"
