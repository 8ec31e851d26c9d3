"""The modules that no stage may import: what is there to reach a network, or to serve one. Data, and nothing else.

docs/offline-guard.md shows the same table, which a test holds. A name stands for all that is below it.
"""

from __future__ import annotations

# asyncio, multiprocessing and their like have other uses, and are left to the kernel.
BANNED: dict[str, tuple[str, ...]] = {
    "sockets": ("socket", "_socket", "socketserver", "ssl", "_ssl", "asyncore", "asynchat"),
    "the standard library's protocols": (
        "urllib", "http", "ftplib", "smtplib", "smtpd", "imaplib", "poplib", "nntplib", "telnetlib", "xmlrpc",
        "wsgiref", "webbrowser", "nis",
    ),
    "HTTP and WebSocket": (
        "requests", "urllib3", "aiohttp", "httpx", "httpcore", "httplib2", "pycurl", "treq", "niquests", "websockets",
        "websocket", "socketio", "engineio", "socks", "mechanize", "scrapy", "selenium", "playwright",
    ),
    "servers and network frameworks": (
        "twisted", "tornado", "gevent", "eventlet", "uvicorn", "gunicorn", "hypercorn", "waitress", "cherrypy",
        "pyftpdlib", "aiosmtpd",
    ),
    "remote shells and files": ("paramiko", "asyncssh", "fabric", "scp", "pysftp", "smbclient", "smbprotocol", "hdfs"),
    "calls and messages": (
        "grpc", "grpclib", "Pyro5", "rpyc", "zmq", "pynng", "pika", "aio_pika", "kafka", "aiokafka", "confluent_kafka",
        "nats", "paho", "aiomqtt", "stomp", "celery",
    ),
    "names and directories": ("dns", "aiodns", "pycares", "ldap", "ldap3", "whois"),
    "database servers": (
        "redis", "pymongo", "motor", "psycopg", "psycopg2", "asyncpg", "pg8000", "pymysql", "aiomysql", "MySQLdb",
        "mysql", "cassandra", "elasticsearch", "opensearchpy", "clickhouse_driver", "clickhouse_connect", "influxdb",
        "influxdb_client", "pymemcache", "memcache",
    ),
    "clouds": (
        "boto", "boto3", "botocore", "aiobotocore", "aioboto3", "s3fs", "gcsfs", "adlfs", "minio", "azure",
        "google.cloud", "googleapiclient", "dropbox", "openai", "anthropic",
    ),
}  # fmt: skip

# Below a banned name, and harmless: it only takes texts apart.
ALLOWED = ("urllib.parse",)
