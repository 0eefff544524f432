# An image with batchnormd and bn: built as Debian packages, installed without
# anything that builds. See deploy/README.md for how to run it.
#
#   docker build -t batchnormd .                    # or podman
#   buildah bud --format docker -t batchnormd .     # OCI has no HEALTHCHECK
ARG DEBIAN=debian:bookworm-slim

FROM ${DEBIAN} AS build
WORKDIR /source
COPY deploy/install-packages deploy/packages deploy/package-tools deploy/
RUN deploy/install-packages deploy/packages deploy/package-tools
COPY . .
RUN deploy/make-debs /debs
# The programs as the packages have them, and what these depend on.
RUN mkdir /image \
    && for deb in /debs/batchnormd_*.deb /debs/batchnormd-tools_*.deb; do \
         dpkg-deb -x "$deb" /image; \
         dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/ *(.*//; s/^ *//'; \
       done | sort -u >/depends \
    && rm -rf /image/usr/lib/systemd /image/usr/share/man \
         /image/usr/share/bash-completion /image/etc

FROM ${DEBIAN}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="batchnormd" \
      org.opencontainers.image.description="Batch normalization and its gradients, exactly, over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /depends /tmp/depends
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive xargs -a /tmp/depends \
         apt-get install -y -qq --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf \
         /var/log/*.log /var/log/apt /usr/share/doc /tmp/depends \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/batchnormd
COPY --from=build /image /
# Nobody in particular. Only the volume is written: the root may be read-only.
USER 65532:65532
VOLUME /var/lib/batchnormd
# The socket is for the health check, whatever TCP needs: certificates, tokens.
ENV STATE_DIRECTORY=/var/lib/batchnormd \
    BN_LISTEN=0.0.0.0:50051,unix:/var/lib/batchnormd/bn.sock
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["bn", "health", "--server", "unix:/var/lib/batchnormd/bn.sock", "--timeout", "3s"]
ENTRYPOINT ["batchnormd"]
