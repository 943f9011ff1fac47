# rlsys on NVIDIA GPUs: the machines that learn.
#
#   docker build -f docker/gpu.Dockerfile -t rlsys-gpu:0.1 .
#   docker run --rm --init --stop-timeout=300 --gpus all --shm-size=16g --ulimit nofile=65536:65536 \
#       -v "$PWD/runs:/srv/rlsys/runs" rlsys-gpu:0.1 rlsys launch muzero-breakout --profile gpu
#
# The host needs NVIDIA's driver and container toolkit. CUDA itself comes with torch's wheels: the base is plain Python.
# TORCH_INDEX: an index with CUDA builds of torch, where pip's own does not have them.
# EXTRAS: the project's extras that are installed too, separated by blanks.
# --shm-size: a container's own 64 MB of shared memory would make Ray write to disk. Ray's object store takes 30 % of the
# memory: give it as much. 'ray up' sees to that itself; cluster/kuberay/ mounts memory on /dev/shm.
# --init: ends what dead workers leave behind. --stop-timeout: so long may the last checkpoint take after 'docker stop'.
# runs must be writable for user 1000. Weights & Biases: docker run -e WANDB_API_KEY …; no image holds credentials.
#
# Tried so far: hadolint and the checks of tests/cluster/test_docker_files.py. The steps that it shares with
# docker/cpu.Dockerfile were run in clean roots (tests/cluster/build_in_clean_root.py); its own, CUDA and EGL, were not.
# It has not been built by an engine, and nothing of it has met a GPU.

FROM python:3.11.13-slim-bookworm AS base
ENV PATH=/opt/rlsys/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# bash, rsync: 'ray up' brings files into a running container with them. wget: KubeRay asks with it whether a pod lives.
# libgl1, libglib2.0-0: films of classic games. libegl1, libglvnd0: simulators draw on the GPU without a screen. 'ray up'
# works in login shells, which forget the PATH above.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash rsync wget libgl1 libglib2.0-0 libegl1 libglvnd0 \
    && rm -rf /var/lib/apt/lists/* \
    && echo "PATH=/opt/rlsys/bin:\$PATH" > /etc/profile.d/rlsys.sh

FROM base AS build
ARG TORCH_INDEX=""
ARG EXTRAS="procgen control"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/rlsys
# Dependencies change less often than the code: pyproject.toml alone decides whether this layer is built again.
COPY pyproject.toml /src/
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
    && python -c "import tomllib; project = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; \
                  extras = [project['optional-dependencies'][name] for name in '$EXTRAS'.split()]; \
                  print(*project['dependencies'], *sum(extras, []), sep='\n')" > /src/requirements.txt \
    && pip install -r /src/requirements.txt
COPY README.md /src/
COPY rlsys /src/rlsys
COPY configs /src/configs
COPY launch /src/launch
COPY trained /src/trained
RUN pip install --no-deps /src

FROM base AS runtime
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics MUJOCO_GL=egl
# 1000 is also the first user of the usual machine images, whose files 'ray up' mounts.
RUN useradd --uid 1000 --create-home --shell /bin/bash rlsys \
    && install --directory --owner=rlsys --group=rlsys /srv/rlsys /srv/rlsys/runs /home/rlsys/.ray
COPY --from=build /opt/rlsys /opt/rlsys
# By number, so that Kubernetes can see that it is not root.
USER 1000:1000
WORKDIR /srv/rlsys
# No ENTRYPOINT: 'ray up' starts the container with bash.
CMD ["rlsys", "--help"]
