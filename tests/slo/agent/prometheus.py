"""A real Prometheus that scrapes real targets and lets an agent federate."""

import json
import shutil
import subprocess
import time
from urllib.parse import quote
from urllib.request import urlopen

import yaml

from tests.slo.agent.servers import unused_port

PROGRAM = shutil.which("prometheus")
PATIENCE_S = 60.0
SELECTOR = '{__name__=~"response_.+|traefik_.+|nginx_.+|gateway_.+"}'


class Prometheus:
    """Debian's Prometheus, scraping ten times a second."""

    def __init__(self, directory, targets, **scrape_options):
        self.port = unused_port()
        self._url = f"http://127.0.0.1:{self.port}"
        self.federate_url = f"{self._url}/federate?match[]={quote(SELECTOR)}"
        self.health_url = f"{self._url}/-/ready"
        job = {
            "job_name": "sources",
            "scrape_interval": "100ms",
            "scrape_timeout": "100ms",
            "honor_labels": True,
            "static_configs": [{"targets": targets}],
        }
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump({"scrape_configs": [job | scrape_options]}))
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def wait_for(self, query, values):
        """Waits until an instant query has these values, in any order."""
        url = f"{self._url}/api/v1/query?query={quote(query)}"
        found = None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with urlopen(url) as answer:
                    result = json.load(answer)["data"]["result"]
            except OSError:
                result = []
            found = sorted(float(each["value"][1]) for each in result)
            if found == sorted(values):
                return
            time.sleep(0.05)
        raise AssertionError(f"{query} never became {values}, only {found}")

    def close(self):
        """Ends it."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()
