# rlsys on CPUs: laptops, CI, and the machines that roll out.
#
#   docker build -f docker/cpu.Dockerfile -t rlsys-cpu:0.1 .
#   docker build -f docker/cpu.Dockerfile -t rlsys-cpu:0.1 --build-arg TORCH_INDEX=<index with CPU builds of torch> .
#   docker run --rm --shm-size=4g --ulimit nofile=65536:65536 -v "$PWD/runs:/srv/rlsys/runs" rlsys-cpu:0.1 \
#       rlsys launch muzero-breakout
#
# TORCH_INDEX: without it, pip takes the CUDA build of torch: it works on CPUs, and makes the image several GB larger.
# --shm-size: a container's own 64 MB of shared memory would make Ray write to disk.
# runs must be writable for user 1000. Weights & Biases: docker run -e WANDB_API_KEY …; no image holds credentials.
#
# Tried so far: the structural checks of tests/test_docker_files.py and, outside of Docker, building the wheel from what
# is copied. The image has not been built.

FROM python:3.11.13-slim-bookworm AS base
ENV PATH=/opt/rlsys/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# bash, rsync: 'ray up' brings files into a running container with them. libgl1, libglib2.0-0: films of classic games.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash rsync libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/rlsys
# Dependencies change less often than the code: pyproject.toml alone decides whether this layer is built again.
COPY pyproject.toml /src/
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
    && python -c "import tomllib; project = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; \
                  print(*project['dependencies'], sep='\n')" > /src/requirements.txt \
    && pip install -r /src/requirements.txt
COPY README.md /src/
COPY rlsys /src/rlsys
COPY configs /src/configs
COPY launch /src/launch
RUN pip install --no-deps /src

FROM base AS runtime
# 1000 is also the first user of the usual machine images, whose files 'ray up' mounts.
RUN useradd --uid 1000 --create-home rlsys \
    && install --directory --owner=rlsys --group=rlsys /srv/rlsys /home/rlsys/.ray
COPY --from=build /opt/rlsys /opt/rlsys
USER rlsys
WORKDIR /srv/rlsys
# No ENTRYPOINT: 'ray up' starts the container with bash.
CMD ["rlsys", "--help"]
