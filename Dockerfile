# Every process of the Procfile in one image: `docker run IMAGE worker`.
FROM python:3.11-slim-bookworm

WORKDIR /srv/companon
COPY requirements/runtime.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements/runtime.txt
COPY . .

# The code stays root's. The processes write checkpoints and files of brands here, unless AUDIT_CHECKPOINT_URL and
# STORAGE_URL name other stores.
RUN useradd --system companon && install -d -o companon -g companon -m 0700 var/checkpoints var/assets
USER companon
VOLUME /srv/companon/var/checkpoints
VOLUME /srv/companon/var/assets
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "scripts.devstack.process"]
CMD ["web", "--bind", "0.0.0.0:8000"]
