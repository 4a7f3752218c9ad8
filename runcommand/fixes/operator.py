"""The operator's own machine: Azure CLI commands, for what no command on the VM can change."""

from __future__ import annotations

import re
from typing import List, Optional

from .commands import Fix, Phrase, RunOn, Shell, Word, advice, command, phrase

ACCESS_PROFILE = phrase("az sig in-vm-access-control-profile-version")


class AzureName(Word):
    """The name of a resource or resource group that needs no quotes in any shell."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,89}")


def az(words: Phrase) -> Fix:
    return command(Shell.SH, words, RunOn.OPERATOR)


def change_access(group: Optional[str], name: Optional[str]) -> List[Fix]:
    """Shows what decides on access to IMDS (Metadata Security Protocol).

    The change makes it log instead of deny.

    A VM has a profile or a mode of its own, never both: Azure refuses a mode beside a profile.

    :param group: the VM's resource group; placeholders stand for both names where one is not known
    or not plain
    """
    fixes: List[Fix] = []
    if not (group and AzureName.fits(group)) or not (name and AzureName.fits(name)):
        group, name = "GROUP", "VM"
        fixes.append(advice("GROUP and VM stand for this VM's resource group and name."))
    vm = phrase("-g {group} -n {name}", group=AzureName(group), name=AzureName(name))
    return [
        *fixes,
        az(phrase("az vm show {vm} --query securityProfile.proxyAgentSettings.imds", vm=vm)),
        advice(
            "If it shows an inVMAccessControlProfileReferenceId, use it in place of PROFILE: allow "
            "the program and its "
            "user in that profile, or set it to Audit (log, do not deny) while you investigate. "
            "Other VMs may use it too."
        ),
        az(phrase("{profile} show --ids PROFILE", profile=ACCESS_PROFILE)),
        az(phrase("{profile} update --ids PROFILE --mode Audit", profile=ACCESS_PROFILE)),
        advice("If it shows a mode and no profile:"),
        az(phrase("az vm update {vm} --imds-mode Audit", vm=vm)),
        advice("Audit lets every program in: set it back to Enforce when the rules are right."),
    ]
