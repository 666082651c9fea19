# tmi in a container:
#
#   docker build -t tmi .
#   docker run --rm tmi doctor
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" tmi attack --out /work/runs/digits
#
# For an NVIDIA GPU, build with PyTorch's own builds for CUDA and run with --gpus all:
#
#   docker build -t tmi:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm --gpus all -v "$PWD:/work" --user "$(id -u):$(id -g)" tmi:cuda doctor

# The wheel, from the checkout. Rust is a part of this stage alone.
FROM rust:1-slim-bookworm AS builder
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/maturin && /opt/maturin/bin/pip install --no-cache-dir "maturin>=1.7,<2"
WORKDIR /src
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE ./
COPY rust rust
COPY benches benches
COPY python python
# abi3: one wheel for every Python from 3.10. Not for other systems (manylinux): it goes no further than the next stage,
# which has the same glibc.
RUN /opt/maturin/bin/maturin build --release --locked --compatibility linux --interpreter python3 --out /wheels

FROM python:3.12-slim-bookworm
# Where PyTorch comes from: builds for the processor alone by default, which are much smaller than those with CUDA.
# Others: https://download.pytorch.org/whl/cu128, .../rocm6.4; https://pypi.org/simple for what pip takes by itself.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# LightGBM needs OpenMP's library, which the slim image does not have.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 tmi \
    && install --directory --owner tmi --group tmi /work
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.8"
# PyPI knows other builds of the same version of torch; what is installed satisfies tmi and stays.
RUN --mount=type=bind,from=builder,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/tmi_audit-*.whl)[data]"

USER 1000
# Run directories, and data of your own, go here. A --user without a home directory has its caches here as well.
WORKDIR /work
VOLUME /work
ENV HF_HOME=/work/.cache/huggingface MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["tmi"]
CMD ["--help"]
