# fcnet with compiled steps and its server. Kernels are compiled while the image is built, so that no run waits for them.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fcnet fcnet
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/fcnet-*.whl)[fast,serve]" && rm -r /wheels \
    && useradd --create-home fcnet && mkdir /data && chown fcnet /data
USER fcnet
RUN fcnet warmup && fcnet doctor
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["fcnet"]
CMD ["--help"]
