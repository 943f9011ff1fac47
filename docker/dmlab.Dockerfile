# rlsys with DeepMind Lab, which no package index has: it is built here from its own sources.
#
#   docker build -f docker/gpu.Dockerfile -t rlsys-gpu:0.1 .
#   docker build -f docker/dmlab.Dockerfile -t rlsys-dmlab:0.1 --build-arg BASE=rlsys-gpu:0.1 .
#   docker run --rm --init --gpus all --shm-size=16g -v "$PWD/runs:/srv/rlsys/runs" rlsys-dmlab:0.1 python -c "import deepmind_lab"
#
# BASE: rlsys-cpu:0.1 or rlsys-gpu:0.1, both built from docker/. Lab draws on the CPU (OSMesa) or on the GPU (EGL).
#
# Tried so far: hadolint and the checks of tests/cluster/test_docker_files.py. It has not been built, by an engine or by
# hand: bazel's part needs the network that Lab's WORKSPACE names. It is the image most likely to need repair, because at
# any commit that file fetches the newest version of several libraries, so that a build can break without a change here.
# Issues 242 and 253 of github.com/google-deepmind/lab collect repairs.

ARG BASE=rlsys-cpu:0.1

FROM python:3.11.13-slim-bookworm AS lab
ARG LAB_COMMIT=6dd241d1b17a1f4e67819b922ecc05bedc4efcbb
ARG BAZELISK_VERSION=v1.17.0
# The last series before Bazel dropped what Lab's build files use by default.
ENV USE_BAZEL_VERSION=5.4.1 PIP_NO_CACHE_DIR=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential ca-certificates curl gettext git libffi-dev libglu1-mesa-dev libjpeg-dev libosmesa6-dev \
        libsdl2-dev lua5.1 liblua5.1-0-dev pkg-config unzip zip zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
# What Lab's build looks for in the Python that it builds for; the numpy must be of the series that rlsys runs with.
RUN pip install "numpy>=1.26,<2" packaging "setuptools<70" wheel
RUN curl --fail --silent --show-error --location --output /usr/local/bin/bazel \
        "https://github.com/bazelbuild/bazelisk/releases/download/${BAZELISK_VERSION}/bazelisk-linux-amd64" \
    && chmod +x /usr/local/bin/bazel
WORKDIR /lab
RUN git init --quiet \
    && git fetch --quiet --depth=1 https://github.com/google-deepmind/lab.git "$LAB_COMMIT" \
    && git checkout --quiet FETCH_HEAD
RUN bazel build --compilation_mode=opt --python_version=PY3 --cxxopt=-std=c++17 \
        --action_env=PYTHON_BIN_PATH=/usr/local/bin/python3 //python/pip_package:build_pip_package \
    && PYTHON_BIN_PATH=/usr/local/bin/python3 ./bazel-bin/python/pip_package/build_pip_package /wheels

FROM ${BASE} AS runtime
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libosmesa6 libsdl2-2.0-0 libegl1 \
    && rm -rf /var/lib/apt/lists/*
# Mounted rather than copied: a wheel that is copied stays in a layer. Lab's extension is compiled against numpy 1; beside
# that, pyarrow 26 cannot be imported, and no Ray actor starts.
RUN --mount=type=bind,from=lab,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/*.whl "numpy>=1.26,<2" "pyarrow<26"
# By number, so that Kubernetes can see that it is not root.
USER 1000:1000
WORKDIR /srv/rlsys
CMD ["rlsys", "--help"]
