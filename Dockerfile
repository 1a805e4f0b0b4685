# Two images from one build: the server and the trainer.
#
#   docker build --target server  -t swiftlet-server  .
#   docker build --target trainer -t swiftlet-trainer .
#
# Both run as a user without rights and keep everything in the volume /var/lib/swiftlet (data/ and models/).

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/lib.sh deploy/lib.sh
RUN bash -c 'set -euo pipefail; source deploy/lib.sh; install_packages /tmp/packages.log "${build_packages[@]}"' \
    && rm -rf /var/lib/apt/lists/*
COPY CMakeLists.txt CMakePresets.json ./
COPY proto proto
COPY engine engine
COPY storage storage
COPY server server
COPY client client
RUN cmake --preset release -DSWIFTLET_TESTS=OFF \
    && ninja -C build/release swiftlet-server swiftlet-trainer swiftlet \
    && strip build/release/bin/*

FROM debian:bookworm-slim AS runtime
# Runtime libraries only.
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      libgrpc++1.51 libprotobuf32 libabsl20220623 librocksdb7.8 libspdlog1.10 libprometheus-cpp-core1.0 \
      libhwy1 libxxhash0 zlib1g libjemalloc2 libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --home-dir /var/lib/swiftlet swiftlet \
    && install -d -o swiftlet -g swiftlet /var/lib/swiftlet /var/lib/swiftlet/data /var/lib/swiftlet/models
USER swiftlet
WORKDIR /var/lib/swiftlet
VOLUME /var/lib/swiftlet
COPY --from=build /src/build/release/bin/swiftlet /usr/local/bin/

FROM runtime AS trainer
USER root
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libopenblas0-pthread \
    && rm -rf /var/lib/apt/lists/*
USER swiftlet
COPY --from=build /src/build/release/bin/swiftlet-trainer /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/swiftlet-trainer"]

FROM runtime AS server
COPY --from=build /src/build/release/bin/swiftlet-server /usr/local/bin/
EXPOSE 50051 8080 9464
# Healthy once the server answers, also while it waits for its first snapshot: that is readiness, `swiftlet status`.
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s CMD ["/usr/local/bin/swiftlet", "status", "--live"]
# Inside a container all addresses are its own: who may reach it is decided where its ports are published. With --tls-cert and
# --tls-key after the image's name it speaks TLS; `swiftlet status` of the health check then needs SWIFTLET_TLS_CA and
# SWIFTLET_TLS_SERVER_NAME in the environment.
#
# HTTP, with the console, listens beside gRPC on the same terms.
ENTRYPOINT ["/usr/local/bin/swiftlet-server", "--listen", "0.0.0.0:50051", "--http-listen", "0.0.0.0:8080", \
            "--metrics", "0.0.0.0:9464", "--insecure-listen", "--insecure-metrics", \
            "--data-dir", "/var/lib/swiftlet/data", "--model-dir", "/var/lib/swiftlet/models"]
