"""`python -m fleet.demo.embedded_broker CONFIG`: rumqttd, of the wheel `iotcore`, in this process."""

import logging
import sys


def main() -> None:
    """Run until killed: rumqttd has no way to stop."""
    from iotcore.iotcore import IotCoreBroker

    # rumqttd logs its tracing spans as one ERROR record for each packet.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    IotCoreBroker(config_path=sys.argv[1]).run_forever()


if __name__ == "__main__":
    main()
