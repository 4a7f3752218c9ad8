"""The printed lines that install a certificate, while an ordinary user of the VM tries to put
another one in its place.
"""

from __future__ import annotations

import hashlib
import subprocess
import time

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts.decoding import facts_from_json
from runcommand.fixes.remedies import remedies
from runcommand.fixes.steps import Wanted
from runcommand.simulator import pki

from .lab.certificates import ALONE, SERVED, at, web
from .lab.namespace import ANCHORS, COPIED, Lab, own_environment, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
NOBODY = 65534
FILE = "imds-check Test Global Root.crt"
TARGET = f"{ANCHORS}/imds-check-test-global-root.crt"
STRANGER = "/run/lab/stranger"
# Everything an ordinary user can do to files whose names can be foreseen, over and over.
ATTACK = f"""
while :; do
  for file in "/var/tmp/{FILE}" "/tmp/{FILE}" "{COPIED}/{FILE}" "{TARGET}"; do
    ln -sfn {STRANGER} "$file" 2>/dev/null || cat {STRANGER} > "$file" 2>/dev/null
  done
done
"""


def thumbprint(encoded: bytes) -> str:
    return hashlib.sha1(encoded).hexdigest()


class Attacked:
    """A VM that does not trust the root, with a user at work in it."""

    def __init__(self, script: str) -> None:
        self.lab = Lab(ALONE)
        self._script = script

    def __enter__(self) -> Lab:
        lab = self.lab.__enter__()
        lab.trust(())
        lab.hosts(at(SERVED))
        for (address, port), how in web().items():
            lab.web(address, port, how)
        lab.vm("mkdir -p /run/lab")
        subprocess.run(
            lab.enter(["sh", "-c", f"cat > {STRANGER}; chmod 644 {STRANGER}"]),
            input=pki.tls_root(),
            check=True,
        )
        user = [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "sh",
            "-c",
            self._script,
        ]
        self.user = subprocess.Popen(
            lab.enter(user), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return lab

    def __exit__(self, *_: object) -> None:
        self.user.kill()
        self.user.wait()
        self.lab.__exit__()


def lines_of(lab: Lab):
    """The lines that would be printed for this root if it were one that is known to be Azure's."""
    report, _ = lab.diagnose()
    assert report["cause"] == "cert-root-untrusted"
    assert not [fix for fix in report["findings"][0]["fix"] if fix["kind"] == "command"], (
        "a stranger's root: advice"
    )
    model = diagnose(facts_from_json(report["facts"])).model
    wanted = Wanted(root=thumbprint(pki.root()))
    return [
        fix.text for fix in remedies(model).install_certificate(pki.ROOT_URL, True, None, wanted)
    ]


def run(lab: Lab, line: str) -> int:
    script = f"PATH=/usr/sbin:$PATH; {line}"
    done = subprocess.run(
        lab.enter(["sh", "-c", script]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=own_environment(),
    )
    return done.returncode


def installed(lab: Lab) -> str:
    """The thumbprint of what lies among the administrator's certificates; empty where there is
    nothing.
    """
    command = f"openssl x509 -in {TARGET} -outform DER"
    done = subprocess.run(
        lab.enter(command.split()), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return thumbprint(done.stdout) if done.returncode == 0 else ""


def test_a_user_who_waits_on_the_file_installs_nothing_of_his():
    with Attacked(ATTACK) as lab:
        line, again = lines_of(lab)
        assert "/tmp" not in line and "{ curl -fsS 'http://" in line
        for _ in range(5):
            lab.vm(f"rm -f {TARGET}")
            assert run(lab, line) == 0 and installed(lab) == thumbprint(pki.root())
        assert lab.vm(f"sh -c 'readlink \"/var/tmp/{FILE}\"'").strip() == STRANGER, (
            "the user is at work"
        )
        assert run(lab, again) == 0
        assert lab.diagnose()[0]["verdict"] == "healthy"


def test_a_file_that_its_user_swaps_while_it_is_installed_is_the_right_one_or_none():
    """An operator moved the user's file instead of copying it: it is still the user's, who swaps it
    all the time.
    """
    swap = (
        f"while :; do cat {STRANGER}.right > '{COPIED}/{FILE}'; cat {STRANGER} > "
        f"'{COPIED}/{FILE}'; done"
    )
    with Attacked(f"until [ -w '{COPIED}/{FILE}' ]; do sleep 0.01; done; {swap}") as lab:
        line, _ = lines_of(lab)
        exists, _, rest = line.partition("curl ")
        _, words, rest = rest.partition("openssl x509 -inform DER")
        # as it is printed where the VM cannot download
        line = f"{exists}{words} -in '{COPIED}/{FILE}'{rest}"
        script = (
            f"cat > {STRANGER}.right; chmod 644 {STRANGER}.right; cp {STRANGER} "
            f"'{COPIED}/{FILE}'; chown {NOBODY} '{COPIED}/{FILE}'"
        )
        subprocess.run(lab.enter(["sh", "-c", script]), input=pki.root(), check=True)
        time.sleep(0.05)
        outcomes = set()
        for _ in range(20):
            code = run(lab, line)
            found = installed(lab)
            assert (found == thumbprint(pki.root())) == (code == 0) and found in (
                "",
                thumbprint(pki.root()),
            )
            outcomes.add(code == 0)
            lab.vm(f"rm -f {TARGET}")
        assert False in outcomes, "the user did swap it"


@pytest.mark.parametrize(
    "sent",
    [f"cat {STRANGER}", "echo '<html>'", "true"],
    ids=["another root", "a web page", "nothing"],
)
def test_what_is_not_the_certificate_does_not_stay(sent):
    with Attacked("sleep 60") as lab:
        line, _ = lines_of(lab)
        exists, _, rest = line.partition("curl ")
        _, pipe, rest = rest.partition(" | ")
        assert run(lab, f"{exists}{sent}{pipe}{rest}") != 0 and installed(lab) == ""


def test_a_file_that_is_there_already_stays_as_it_is():
    with Attacked("sleep 60") as lab:
        line, _ = lines_of(lab)
        lab.write(TARGET, "the administrator's own")
        lab.hosts({})
        assert run(lab, line) == 0 and lab.vm(f"cat {TARGET}") == "the administrator's own"


def test_an_intermediate_that_no_trusted_root_has_signed_does_not_stay():
    with Lab(ALONE) as lab:
        lab.trust(("root",))
        report, _ = lab.diagnose()
        assert report["cause"] == "cert-intermediate-missing"
        line = next(
            fix["text"] for fix in report["findings"][0]["fix"] if "openssl verify" in fix["text"]
        )
        file = line.partition("-in '")[2].partition("'")[0]
        target = line.partition("-out ")[2].partition(" ")[0]
        subprocess.run(
            lab.enter(["sh", "-c", f"cat > '{file}'"]), input=pki.leaf("x.example", "x"), check=True
        )
        assert run(lab, line) != 0
        assert lab.vm(f"sh -c 'ls {target} 2>/dev/null || echo none'").strip() == "none"
