# conf/compose/shop.Dockerfile: an application as an example: that of docs/full-stack.md, under gunicorn.

FROM python:3.13-slim-bookworm
COPY clients/python /usr/src/client
RUN pip install --no-cache-dir 'Flask>=3' gunicorn /usr/src/client
COPY conf/compose/shop.py /srv/shop/shop.py
WORKDIR /srv/shop
USER 65533:65533
CMD ["python", "-m", "gunicorn", "--workers", "2", "--bind", "0.0.0.0:8000", "--worker-tmp-dir", "/dev/shm", "--no-control-socket", "shop:app"]
