"""The transport over MQTT 5, by paho-mqtt."""

from fedge.transport.mqtt.transport import MqttTransport

__all__ = ["MqttTransport"]
