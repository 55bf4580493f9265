"""Become `sfsync COMMAND` with the credentials that the simulated org printed.

Why: the org makes new credentials at every start, and sfsync takes secrets from its environment only.
"""

import json
import os
import sys
from pathlib import Path

org = json.loads(Path("/run/simorg/org.json").read_text().splitlines()[0])
os.environ |= {
    "SFSYNC_SALESFORCE__FLOW": "client_credentials",
    "SFSYNC_SALESFORCE__LOGIN_URL": org["url"],
    "SFSYNC_SALESFORCE__CLIENT_ID": org["client_id"],
    "SFSYNC_SALESFORCE__CLIENT_SECRET": org["client_secret"],
}
os.execvp("sfsync", ["sfsync", *sys.argv[1:]])  # noqa: S606, S607 - the image's own program
