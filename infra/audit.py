"""Known vulnerabilities of the installed packages, by pip-audit. Only a finding fails.

Where no vulnerability service can be reached (behind a mirror that has packages only), pip-audit skips what it cannot
look up and is content; this says so instead.
"""

import json
import subprocess
import sys

COMMAND = ("-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json")
UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "NameResolutionError",
    "ServiceError",
)


def main() -> int:
    """Runs pip-audit; returns the exit code."""
    done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if any(name in done.stderr for name in UNREACHABLE):
            print("audit: no vulnerability service can be reached from here: nothing was looked up")
            return 0
        print(done.stderr)
        return 1
    found = [(one["name"], one["version"], bug) for one in packages for bug in one.get("vulns", ())]
    for name, version, bug in found:
        fixed = ", ".join(bug["fix_versions"]) or "no version yet"
        print(f"audit: {name} {version}: {bug['id']} {' '.join(bug['aliases'])}, fixed in {fixed}")
    num_known = sum("vulns" in one for one in packages)
    if not num_known:
        print(f"audit: this package index knows no vulnerabilities: none of {len(packages)} packages was looked up")
    else:
        print(f"audit: {num_known} of {len(packages)} packages looked up, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
