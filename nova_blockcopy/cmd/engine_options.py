# SPDX-License-Identifier: Apache-2.0
"""Whether the options of the engine can be used."""

from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import plan
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import hypervisor


def result(
    host: str, found: conf.Settings | exception.InvalidOption
) -> upgradecheck.Result:
    """Decide on the options, and load the copy driver.

    :param host: the name of this host, for messages
    :param found: the settings of the engine, or the reason why it has none
    """
    if isinstance(found, exception.InvalidOption):
        return answers.failure(str(found))
    try:
        plan.check_encryption(
            host,
            tls=found.export_tls,
            allow_plaintext=found.allow_plaintext,
        )
        drivers.load(found, hypervisor.Connector(found.connection_uri))
    except (exception.PlaintextRefused, exception.UnknownDriver) as e:
        return answers.failure(str(e))
    return answers.success()
